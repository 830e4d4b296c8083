#!/bin/sh
# Writes down every file of the service as it is deployed: `--list` only says them.
set -eu
list() {
    find /opt/virtual-agora /var/lib/virtual-agora /etc/virtual-agora -name .git -prune -o -name '.sternway-*' -prune \
        -o -name .rollback -prune -o -name .undone -prune -o -type f ! -name 'config.yml.*' ! -name 'agora.env.*' -print0 | sort -z | xargs -0 sha256sum
}
[ "${1-}" = --list ] && { list; exit; }
list > /srv/example/.deployed
