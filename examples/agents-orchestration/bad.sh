#!/bin/sh
# Exits 0 when the host is as the bad deployment left it; says what is not.
here=$(dirname "$(readlink -f "$0")")
wrong() { echo "not as deployed: $*" >&2; exit 1; }

sh "$here/evidence.sh" > /srv/evidence/now || wrong "it cannot be looked at"
diff /srv/evidence/bad /srv/evidence/now >&2 || wrong "files differ"
[ "$(cd /opt/agents && runuser -u www-data -- git describe --tags --dirty)" = v1.1.0-dirty ] || wrong "the code"
! /opt/agents/.venv/bin/python -B -c 'import agentkit' 2>/dev/null || wrong "its dependencies work"
! jq . /opt/agents/config/agents.json >/dev/null 2>&1 || wrong "its configuration can be read"
! jq . /opt/agents/artifacts/workflow-state.json >/dev/null 2>&1 || wrong "its state can be read"
[ "$(systemctl is-active agent-orchestration)" != active ] || wrong "agent-orchestration runs"
! curl --silent --output /dev/null http://127.0.0.1:8090/health || wrong "somebody answers on port 8090"
curl --silent http://127.0.0.1:8091/ | grep -q 'Console 1.1.0' || wrong "the console is $(curl --silent http://127.0.0.1:8091/)"
! sh "$here/console-good.sh" 2>/dev/null || wrong "the console is whole"
