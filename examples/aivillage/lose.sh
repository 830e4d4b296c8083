#!/bin/sh
# On a host with 2.4: the kept copies are gone, the configuration is damaged, nothing starts any more.
set -eu
find /opt/aivillage -name '*.backup' -delete
echo '{ "database": "aivil' > /opt/aivillage/config/database_config.json
printf 'AIVILLAGE_VERS' > /opt/aivillage/config/.env
systemctl reset-failed 'aivillage-*' || true
for service in gateway p2p agents rag; do systemctl restart "aivillage-$service" 2>/dev/null || true; done
tries=100
for service in gateway p2p agents rag; do
  until systemctl is-failed --quiet "aivillage-$service"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "aivillage-$service did not fail"; exit 1; }
    sleep 0.2
  done
done
: > /var/lib/visitor/seen
