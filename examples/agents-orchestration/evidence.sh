#!/bin/sh
# All that a deployment is made of, in lines that can be held against each other.
set -eu
export GIT_OPTIONAL_LOCKS=0
cd /opt/agents
as_agents() { runuser -u www-data -- "$@"; }
echo "commit $(as_agents git rev-parse HEAD) on $(as_agents git branch --show-current)"
as_agents git diff HEAD
find . \( -path ./.git -o -path ./logs -o -name __pycache__ \) -prune -o \
    \( -type f -o -type l \) -printf '%P %M %u %l\n' | sort
find . \( -path ./.git -o -path ./logs -o -name __pycache__ \) -prune -o -type f -print0 |
    sort -z | xargs -0 sha256sum
head -n 500 logs/orchestrator.log | sha256sum
sha256sum < /var/lib/agents/metrics.json
readlink /srv/agents/current
