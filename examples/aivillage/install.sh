#!/bin/sh
# Makes a host of the village, version 2.3, and starts it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
host=$here/host

id aivillage >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin aivillage
systemctl stop aivillage-rag aivillage-agents aivillage-p2p aivillage-gateway 2>/dev/null || true

# The program, owned by root: the services only read it. Deployments are commits.
rm -rf /opt/aivillage
mkdir -p /opt/aivillage
cp -R "$host/good/." /opt/aivillage
cd /opt/aivillage
tar -czf share-defaults.tar.gz -C config .
git init --quiet --initial-branch=main
git -c user.name=deploy -c user.email=deploy@aivillage.example add --all
git -c user.name=deploy -c user.email=deploy@aivillage.example commit --quiet --message 'AIVillage 2.3.0'

# What it keeps between two releases.
install -d -o aivillage -g aivillage /var/lib/aivillage /var/log/aivillage
install -m 0644 "$host/data/facts.json" "$host/data/peers.json" /var/lib/aivillage
install -d /var/backups/aivillage

# The database.
systemctl start postgresql@15-main
until su postgres -c 'psql -Atqc "select 1"' >/dev/null 2>&1; do sleep 0.2; done
su postgres -c 'export PGOPTIONS=--client-min-messages=warning; dropdb --if-exists --force aivillage; dropuser --if-exists aivillage; createuser aivillage; createdb --owner aivillage aivillage'
runuser -u aivillage -- psql -X -q -v ON_ERROR_STOP=1 -d aivillage -f - < "$host/sql/schema-12.sql"
su postgres -c 'pg_dump --format=custom aivillage' > /var/backups/aivillage/nightly.dump

# Who is told.
install -d -m 0700 /etc/aivillage
[ -s /etc/aivillage/pager.token ] || (umask 077; od -An -N16 -tx1 /dev/urandom | tr -d ' \n' > /etc/aivillage/pager.token)
install -d /usr/local/lib/pager /var/lib/pager
install -m 0644 "$host/pager/recorder.py" /usr/local/lib/pager
install -m 0644 "$host/pager/pager.service" /etc/systemd/system
install -m 0755 "$host/keep-logs.sh" /usr/local/sbin/aivillage-keep-logs
install -d /usr/local/lib/visitor
install -m 0755 "$host/visitor/visitor.sh" /usr/local/lib/visitor
install -m 0644 "$host/visitor/visitor.service" /etc/systemd/system
rm -f /var/lib/pager/notices.jsonl /var/lib/pager/deployed /var/lib/visitor/seen
echo 'all is well' > /var/lib/pager/status

# The web server in front.
rm -f /etc/nginx/sites-enabled/default /var/www/html/maintenance.html
install -m 0644 "$host/nginx/aivillage.conf" /etc/nginx/sites-available
ln -sf ../sites-available/aivillage.conf /etc/nginx/sites-enabled/aivillage.conf

# The services, in order.
rm -rf /etc/systemd/system/aivillage-*
cp -R config/systemd/. /etc/systemd/system
systemctl daemon-reload
systemctl enable --quiet aivillage-gateway aivillage-p2p aivillage-agents aivillage-rag
systemctl reset-failed 'aivillage-*' 2>/dev/null || true
systemctl restart pager nginx visitor
for service in gateway p2p agents rag; do systemctl start "aivillage-$service"; done
for port in 8000 8001 8002 8003 9009; do
  tries=50
  until curl -s -o /dev/null "http://127.0.0.1:$port/health"; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "nobody answers on port $port"; exit 1; }
    sleep 0.2
  done
done
