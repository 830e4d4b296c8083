#!/bin/sh
# The hive 1.4 as it is when all is well: containers by digest, the stable system
# beside it, HAProxy in front with a fifth of the users still on the stable one.
set -eu
. host/common.sh

# One host has only the old compose.
if [ "$(hostname)" = hive-02 ]; then chmod -x /usr/libexec/docker/cli-plugins/docker-compose; fi

mkdir -p /opt/hive-ops /etc/hive-ops /etc/hive-model
cp host/ops/* /opt/hive-ops/
chmod 0755 /opt/hive-ops/*
( umask 077; echo 'pager-9b1f44c2' > /etc/hive-ops/pager.token )
cp host/units/*.service /etc/systemd/system/
cp host/haproxy.cfg /etc/haproxy/haproxy.cfg
systemctl daemon-reload
systemctl restart haproxy hive-stable hive-model hive-pager
systemctl start docker docker-registry

# From scratch, whatever an earlier try left.
[ ! -f /srv/hive/docker-compose.yml ] || compose down --remove-orphans
rm -rf /srv/hive /etc/hive /var/lib/hive /etc/hive-model/delay_ms

sh host/base.sh
mkdir -p /srv/hive /etc/hive /var/lib/hive/data /var/lib/hive/redis /var/log/hive
cp host/config-1.4/* /etc/hive/
cp host/compose-1.4.yml /srv/hive/docker-compose.yml
echo 1.4.2 > /srv/hive/VERSION
umask 077
cat > /srv/hive/.env <<V
HIVE_IMAGE=$(image hive/hive:1.4.2 Dockerfile 1.4)
REDIS_IMAGE=$(image hive/redis:7 Dockerfile.redis 1.4)
HIVE_PORT=8200
V
printf 'HIVE_TOKEN=hive-57d1c0\nMODEL=model:9300\n' > /srv/hive/api.env
umask 022

python3 - <<'P'
import sqlite3
with sqlite3.connect("/var/lib/hive/data/hive.db") as db:
    db.executescript("""
        CREATE TABLE agents (name TEXT PRIMARY KEY, role TEXT NOT NULL, priority INTEGER NOT NULL);
        CREATE TABLE tasks (id TEXT PRIMARY KEY, text TEXT NOT NULL, done_by TEXT NOT NULL);
        INSERT INTO agents VALUES ('ada', 'architect', 1), ('bo', 'backend', 2), ('cy', 'frontend', 2),
          ('di', 'tests', 3), ('ed', 'docs', 5), ('fay', 'review', 1);
        PRAGMA user_version = 1;
    """)
P
compose up -d --remove-orphans
for service in redis api worker; do until_state "$service" healthy; done
redis() { docker exec "$(container redis)" redis-cli "$@"; }
redis SET hive:schema 1
redis RPUSH hive:contexts conversation code memory
redis SAVE
