#!/bin/sh
# A folder for the release that is named.
set -eu
runuser -u www-data -- mkdir "/srv/agents/releases/$1"
runuser -u www-data -- git -C /srv/upstream/tree archive "v$1" |
    runuser -u www-data -- tar -x -C "/srv/agents/releases/$1"
