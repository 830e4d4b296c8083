#!/bin/sh
# Exits 0 when nothing of the system is there.
wrong() { echo "not as after the loss: $*" >&2; exit 1; }
[ ! -e /opt/agents ] || wrong "/opt/agents is there"
[ ! -e /srv/agents ] || wrong "/srv/agents is there"
grep -q '^ExecStart=/opt/agent/' /etc/systemd/system/agent-orchestration.service || wrong "the unit was mended"
[ "$(systemctl is-active agent-orchestration)" != active ] || wrong "agent-orchestration runs"
! curl --silent --output /dev/null http://127.0.0.1:8090/health || wrong "somebody answers on port 8090"
