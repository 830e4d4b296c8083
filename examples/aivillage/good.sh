#!/bin/sh
# Exits with 0 when this host is well at 2.3; else says each thing that is not.
here=$(cd "$(dirname "$0")" && pwd)
good=$here/host/good
wrong=0
not() { echo "$*"; wrong=1; }

for service in gateway p2p agents rag; do
  [ "$(systemctl is-active "aivillage-$service")" = active ] || not "aivillage-$service is $(systemctl is-active "aivillage-$service")"
  [ "$(systemctl is-enabled "aivillage-$service")" = enabled ] || not "aivillage-$service is not enabled"
  cmp -s "$good/config/systemd/aivillage-$service.service" "/etc/systemd/system/aivillage-$service.service" \
    || not "the unit file of aivillage-$service is another one"
done
[ "$(ls /etc/systemd/system/aivillage-gateway.service.d)" = 10-limits.conf ] || not 'other drop-ins than 10-limits.conf'
[ "$(systemctl show --value --property=MemoryMax aivillage-gateway)" = 536870912 ] || not 'the limits are not those of 2.3'
[ "$(systemctl show --value --property=NeedDaemonReload aivillage-gateway)" = no ] || not 'systemd has not read its files'
systemctl show --property=Environment aivillage-gateway | grep -q 'AIVILLAGE_' && not 'the gateway has the environment of 2.4'

for port in 8000 8001 8002 8003; do
  health=$(curl -s -m 5 "http://127.0.0.1:$port/health")
  [ "$(echo "$health" | jq -r '.status + " " + .version' 2>/dev/null)" = 'ok 2.3.0' ] || not "port $port says: $health"
done
question='{"query": "who keeps the key of the tower", "user_id": "rollback_test"}'
answer=$(curl -s -m 5 -H 'Content-Type: application/json' -d "$question" http://127.0.0.1/api/query)
echo "$answer" | grep -q 'The mayor keeps the key' || not "a user is answered: $answer"

ask() { runuser -u aivillage -- psql -X -Atqc "$1" -d aivillage 2>&1; }
[ "$(ask 'select max(version) from schema_version')" = 12 ] || not 'the schema is not 12'
[ "$(ask "select string_agg(name, ' ' order by id) from agents")" = 'Ida Otto Vera' ] || not 'the agents are not those of before'
[ "$(ask "select count(*) from conversations where question like 'question %'")" = 5000 ] || not 'conversations are missing'

cd /opt/aivillage || exit 1
(cd "$good" && find . -type f) | while read -r file; do
  cmp -s "$good/$file" "$file" || echo "$file is not that of 2.3"
done | grep . && wrong=1
left=$(find . -path ./.git -prune -o \( -name '*.backup' -o -name '*.pyc' -o -name __pycache__ \) -print)
[ -z "$left" ] || not "left over: $left"
[ ! -e packages/core/legacy/error_handling.py ] || not 'error_handling.py is still there'
[ ! -e /var/www/html/maintenance.html ] || not 'users see the maintenance page'

# Once a deployment went wrong here, people were told of the way back.
if [ -e /var/lib/pager/deployed ]; then
  told() { jq -e -s "$1" /var/lib/pager/notices.jsonl >/dev/null 2>&1; }
  told 'any(.kind == "page" and (.notice.message | test("rollback required")))' || not 'nobody was paged'
  told 'any(.kind == "mail" and (.notice.text | test("back at 2.3")))' || not 'no mail of the end'
  grep -q restored /var/lib/pager/status || not "the status page says: $(cat /var/lib/pager/status)"
  [ -s /var/backups/aivillage/before-rollback.dump ] || not 'the bad database was not kept'
  grep -q '^503 System maintenance in progress' /var/lib/visitor/seen || not 'no visitor saw the maintenance page'
  sed '1,/^503/d' /var/lib/visitor/seen | grep -v '^503 System maintenance\|^200 ' | sort | uniq -c | grep . && not 'visitors saw something else after the page'
  ls /var/backups/aivillage/incident-*/journal.txt >/dev/null 2>&1 || not 'logs of the incident were not kept'
fi
exit $wrong
