#!/bin/sh
# Keeps what an analysis afterwards needs: configuration, logs, and the journal of the services.
set -eu
folder=/var/backups/aivillage/incident-$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$folder"
cp -a /opt/aivillage/config "$folder/config"
cp -a /var/log/aivillage "$folder/logs"
journalctl --quiet --since=-1h --unit='aivillage-*' > "$folder/journal.txt"
systemctl --no-pager show 'aivillage-*' --property=Id,ActiveState,SubState,Result,NRestarts > "$folder/units.txt"
echo "kept $(find "$folder" -type f | wc -l) files in $folder"
