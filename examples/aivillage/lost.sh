#!/bin/sh
# Exits with 0 when this host is as lose.sh left it; else says what is not so.
here=$(cd "$(dirname "$0")" && pwd)
wrong=0
not() { echo "$*"; wrong=1; }

for service in gateway p2p agents rag; do
  [ "$(systemctl is-active "aivillage-$service")" != active ] || not "aivillage-$service is active"
done
status=$(curl -s -m 5 -o /dev/null -w '%{http_code}' http://127.0.0.1/health)
[ "$status" = 502 ] || not "a user is answered with $status"
[ -z "$(find /opt/aivillage -name '*.backup')" ] || not 'there are kept copies'
[ "$(cat /opt/aivillage/config/.env)" = AIVILLAGE_VERS ] || not 'the environment is not damaged'
cmp -s "$here/host/bad/core/gateway/server.py" /opt/aivillage/core/gateway/server.py || not 'the gateway is not that of 2.4'
version=$(runuser -u aivillage -- psql -X -Atqc 'select max(version) from schema_version' -d aivillage)
[ "$version" = 13 ] || not "the schema is $version"
exit $wrong
