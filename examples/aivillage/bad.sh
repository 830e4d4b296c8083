#!/bin/sh
# Exits with 0 when this host is as the deployment of 2.4 left it; else says what is not so.
here=$(cd "$(dirname "$0")" && pwd)
bad=$here/host/bad
wrong=0
not() { echo "$*"; wrong=1; }

for service in gateway p2p rag; do
  [ "$(systemctl is-active "aivillage-$service")" = active ] || not "aivillage-$service is $(systemctl is-active "aivillage-$service")"
done
[ "$(systemctl is-active aivillage-agents)" != active ] || not 'the agents run, and should not be able to'
health=$(curl -s -m 5 http://127.0.0.1:8000/health)
[ "$(echo "$health" | jq -r '.status + " " + .version' 2>/dev/null)" = 'degraded 2.4.0' ] || not "the gateway says: $health"
status=$(curl -s -m 5 -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' -d '{"query": "tower"}' http://127.0.0.1/api/query)
[ "$status" = 500 ] || not "a user is answered with $status"
runuser -u aivillage -- env -C /opt/aivillage python3 -B -c 'import core.agents.cognative_nexus_controller' 2>/dev/null && not 'the agents can be imported'

ask() { runuser -u aivillage -- psql -X -Atqc "$1" -d aivillage 2>&1; }
[ "$(ask 'select max(version) from schema_version')" = 13 ] || not 'the schema is not 13'
[ "$(ask "select string_agg(handle, ' ' order by id) from agents")" = 'Ida Otto Vera' ] || not 'the agents have no handles'
[ "$(ask "select count(*) from conversations")" = 2500 ] || not 'the conversations are not those of 2.4'

cd /opt/aivillage || exit 1
(cd "$bad" && find . -type f) | while read -r file; do
  cmp -s "$bad/$file" "$file" || echo "$file is not that of 2.4"
done | grep . && wrong=1
[ -e config/.env.backup ] || not 'the kept copies are gone'
[ -d core/gateway/__pycache__ ] || not 'the bytecode is gone'
(cd "$bad/config/systemd" && find . -type f) | while read -r file; do
  cmp -s "$bad/config/systemd/$file" "/etc/systemd/system/$file" || echo "$file in /etc is not that of 2.4"
done | grep . && wrong=1
systemctl show --property=Environment aivillage-gateway | grep -q 'AIVILLAGE_EXPERIMENTAL=1' || not 'systemd does not go by the drop-in of 2.4'
[ ! -e /var/www/html/maintenance.html ] || not 'users see the maintenance page'
exit $wrong
