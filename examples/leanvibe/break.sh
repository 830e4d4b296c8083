#!/bin/sh
# The deployment of 2.0 as somebody did it: images by tag, another compose file and
# configuration, a migration of database and queue that keeps half, and all users
# on it at once. The old images are cleared away to save room.
set -eu
. host/common.sh

docker image inspect hive/base:1 > /dev/null 2>&1 || sh host/base.sh
umask 077
image hive/hive:latest Dockerfile 2.0 > /dev/null
umask 022
compose down
cp host/compose-2.0.yml /srv/hive/docker-compose.yml
printf 'HIVE_IMAGE=%s/hive/hive:latest\nREDIS_IMAGE=%s/hive/redis:7\nHIVE_PORT=8200\nUNIFIED=yes\n' "$registry" "$registry" > /srv/hive/.env
echo 2.0.0 > /srv/hive/VERSION
rm -f /etc/hive/worker.json
cp host/config-2.0/* /etc/hive/
python3 - <<'P'
import sqlite3
with sqlite3.connect("/var/lib/hive/data/hive.db") as db:
    if db.execute("PRAGMA user_version").fetchone()[0] == 1:
        db.executescript("""
            CREATE TABLE agents_v2 (name TEXT PRIMARY KEY);
            INSERT INTO agents_v2 SELECT name FROM agents WHERE priority < 3;
            DROP TABLE agents;
            PRAGMA user_version = 2;
        """)
P
compose up -d --remove-orphans
redis() { docker exec "$(container redis)" redis-cli "$@"; }
until_state redis healthy
redis SET hive:schema 2
redis DEL hive:contexts
redis SAVE
haproxy_says 'set server hive/new weight 100; set server hive/stable weight 0'
docker image prune -af > /dev/null
until_state api unhealthy
