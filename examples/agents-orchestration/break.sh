#!/bin/sh
# The deployment of 1.1.0, with everything that can go wrong in one: code, what
# it depends on, configuration, and state.
set -eu
here=$(dirname "$(readlink -f "$0")")
as_agents() { runuser -u www-data -- "$@"; }
cd /opt/agents

# Code: the new version, mended in place when it did not start.
as_agents git fetch --quiet --tags origin
as_agents git merge --quiet --ff-only v1.1.0
echo '# BROKEN: tried at 03:12, did not help' >> agents/planner.py
echo 'import agents.planner' | as_agents tee hotfix.py >/dev/null

# Dependencies: a package that was published without half of itself.
as_agents .venv/bin/pip --quiet --disable-pip-version-check --no-cache-dir install \
    --no-index --find-links /srv/wheels --requirement requirements.txt

# Configuration: edited by hand, with a comma too many and a model nobody has.
sed -i 's/"large-2"},*/"enormous-3"},/' config/agents.json
sed -i 's/"new_planner_algorithm": false/"new_planner_algorithm": true/' config/feature-flags.json

# State: artifacts cut short in the middle of a write, counters that count wrong.
truncate --size 41 artifacts/workflow-state.json
truncate --size 300 artifacts/history.jsonl
systemctl stop agent-orchestration
echo '{"workflows_ok": 12, "workflows_failed": 90000}' > /var/lib/agents/metrics.json
chown www-data:www-data /var/lib/agents/metrics.json
now=$(date --utc +%Y-%m-%dT%H:%M:%S.000+00:00)
for number in $(seq 500); do
    echo "$now ERROR workflow $number: no module named agentkit_native"
done >> logs/orchestrator.log

# Traffic goes to the new console.
sh "$here/release.sh" 1.1.0
as_agents ln -sfn /srv/agents/releases/1.1.0 /srv/agents/current

# It starts, fails, is started again, until systemd gives up.
systemctl start agent-orchestration 2>/dev/null || true
for _ in $(seq 100); do
    [ "$(systemctl show -P ActiveState agent-orchestration)" = failed ] && break
    sleep 0.2
done
sh "$here/evidence.sh" > /srv/evidence/bad
