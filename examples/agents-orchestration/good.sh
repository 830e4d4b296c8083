#!/bin/sh
# Exits 0 when the host is as 1.0.0 was; says what is not.
here=$(dirname "$(readlink -f "$0")")
cd /opt/agents || exit 1
as_agents() { runuser -u www-data -- "$@"; }
wrong() { echo "not well: $*" >&2; exit 1; }

[ "$(as_agents git describe --tags)" = v1.0.0 ] || wrong "the code is $(as_agents git describe --tags)"
as_agents git diff --quiet HEAD || wrong "the code differs from its commit"
[ ! -e hotfix.py ] || wrong "hotfix.py is still there"
installed=$(.venv/bin/pip --disable-pip-version-check freeze --exclude pip --exclude setuptools | tr '\n' ' ')
[ "$installed" = "agentkit==1.4.0 promptbook==1.2.0 " ] || wrong "installed is $installed"
.venv/bin/python -B -c 'from orchestration.coordinator import AgentCoordinator' || wrong "the coordinator cannot be imported"
other=$(sh "$here/modes.sh" | diff /srv/evidence/good-modes - | grep '^<')
[ -z "$other" ] || wrong "owners or modes differ, or it is not there: $other"
sha256sum --quiet --check /srv/evidence/good || wrong "configuration or artifacts differ"

[ "$(systemctl is-active agent-orchestration)" = active ] || wrong "agent-orchestration is not active"
for _ in $(seq 50); do
    [ "$(curl --silent http://127.0.0.1:8090/health | jq --raw-output '"\(.status) \(.version)"')" = "ok 1.0.0" ] && break
    sleep 0.2
done
health=$(curl --silent http://127.0.0.1:8090/health)
[ "$(echo "$health" | jq --raw-output '"\(.status) \(.version)"')" = "ok 1.0.0" ] || wrong "it says $health"
curl --silent http://127.0.0.1:8090/metrics.json | jq --exit-status '.error_rate == 0' >/dev/null ||
    wrong "its counters are $(curl --silent http://127.0.0.1:8090/metrics.json)"
! grep -q ERROR logs/orchestrator.log || wrong "the log has errors: $(grep -m 1 ERROR logs/orchestrator.log)"
sh "$here/console-good.sh"
