#!/bin/sh
# A folder for the release that is named.
set -eu
runuser -u agents -- mkdir "/srv/agents/releases/$1"
runuser -u agents -- git -C /srv/upstream/work archive "v$1" |
    runuser -u agents -- tar -x -C "/srv/agents/releases/$1"
