#!/bin/sh
# Somebody set on this host alone what only 1.1.0 knows: 1.0.0 comes up and
# says itself that it is not well.
set -eu
mkdir -p /etc/agents
echo 'AGENTS_PLANNER=tree' > /etc/agents/host.env
