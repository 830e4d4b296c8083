#!/bin/sh
# The host's data disk is gone, and whoever set it up anew mistyped the unit.
set -eu
systemctl stop agent-orchestration
rm -rf /opt/agents /opt/agents.* /srv/agents /var/lib/agents /etc/agents
sed -i 's|^ExecStart=.*|ExecStart=/opt/agent/.venv/bin/python -m orchestration.server|' \
    /etc/systemd/system/agent-orchestration.service
systemctl daemon-reload
sh "$(dirname "$(readlink -f "$0")")/wiped.sh"
