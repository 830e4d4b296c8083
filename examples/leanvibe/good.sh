#!/bin/sh
# Whether this host runs hive 1.4 as it was before the deployment, seen from outside.
set -eu
. host/common.sh

# Containers: the three of 1.4, well, of exactly the images that .env pins.
for service in redis api worker; do
  [ "$(state "$service")" = healthy ] || no "$service is $(state "$service")"
done
[ -z "$(container orchestrator)" ] || no "an orchestrator is there"
pinned=$(sed -n 's/^HIVE_IMAGE=//p' /srv/hive/.env)
case $pinned in *@sha256:*) ;; *) no ".env pins no digest: $pinned" ;; esac
for service in api worker; do
  runs=$(docker inspect -f '{{.Image}}' "$(container "$service")")
  [ "$runs" = "$(docker inspect -f '{{.Id}}' "$pinned")" ] || no "$service runs $runs and not $pinned"
done

# Files: as the good version has them, and none more.
for pair in compose-1.4.yml:/srv/hive/docker-compose.yml config-1.4/hive.json:/etc/hive/hive.json config-1.4/worker.json:/etc/hive/worker.json; do
  cmp -s "host/${pair%%:*}" "${pair#*:}" || no "${pair#*:} is another one"
done
[ "$(ls /etc/hive)" = "$(ls host/config-1.4)" ] || no "/etc/hive holds" /etc/hive/*
[ "$(cat /srv/hive/VERSION)" = 1.4.2 ] || no "VERSION says $(cat /srv/hive/VERSION)"
[ "$(stat -c %a /srv/hive/.env):$(stat -c %a /srv/hive/api.env)" = 600:600 ] || no "others can read the secrets"

# Data: all six agents with their priorities, and the contexts in the queue's store.
said=$(ask_database "SELECT (SELECT * FROM pragma_user_version), count(*), sum(priority) FROM agents") || no "no agents"
[ "$said" = '1|6|14' ] || no "schema, agents and priorities are $said"
said=$(docker exec "$(container redis)" redis-cli LRANGE hive:contexts 0 -1 | tr '\n' ' ')
case $said in 'conversation code memory '*) ;; *) no "the contexts are: $said" ;; esac

# Users: about a fifth of them on the stable system (others may ask at the same time),
# and nobody gets an error. After an emergency (calm.sh) all of them are there, until
# people move them back.
said=$(systems 20)
if [ "${users:-}" = 'on the stable system' ]; then
  [ "$said" = '20 stable 0.9.8' ] || no "of 20 users: $said"
else
  [ "$(weights)" = '20 80' ] || no "the weights are $(weights)"
  of "$said" 'stable 0.9.8' 2 7
  of "$said" 'new 1.4.2' 13 18
  of "$said" error 0 0
fi

# A task comes through: interface, queue, worker, database.
task=$(curl -sS -m 5 -H 'Authorization: Bearer hive-57d1c0' -d 'write tests' "$own/tasks" | jq -r .task)
for _ in $(seq 20); do
  said=$(curl -s -m 5 "$own/tasks/$task" | jq -r .done_by)
  [ "$said" != 1.4.2 ] || exit 0
  sleep 0.2
done
no "the task $task was not done: $said"
