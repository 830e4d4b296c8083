#!/bin/sh
# Exits 0 when the planner is that of 1.0.0 and everything else is as deployed.
cd /opt/agents || exit 1
as_agents() { runuser -u www-data -- "$@"; }
wrong() { echo "not as it should be: $*" >&2; exit 1; }
export GIT_OPTIONAL_LOCKS=0
[ "$(as_agents git describe --tags)" = v1.1.0 ] || wrong "the commit moved to $(as_agents git describe --tags)"
as_agents git diff --quiet v1.0.0 -- agents/planner.py || wrong "the planner is not that of 1.0.0"
[ "$(as_agents git diff --name-only HEAD)" = agents/planner.py ] || wrong "more changed than the planner"
[ -e hotfix.py ] || wrong "what git does not know is gone"
as_agents python3 -B -m unittest --quiet tests.test_planner || wrong "its tests fail"
