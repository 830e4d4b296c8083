#!/bin/sh
# Whether this host is as the deployment of 2.0 left it, seen from outside.
set -eu
. host/common.sh

until_state api unhealthy
[ "$(state redis)" = healthy ] || no "redis is $(state redis)"
[ "$(state orchestrator)" = running ] || no "the orchestrator is $(state orchestrator)"
[ -z "$(container worker)" ] || no "a worker is there"
runs=$(docker inspect -f '{{.Image}}' "$(container api)")
[ "$runs" = "$(docker inspect -f '{{.Id}}' "$registry/hive/hive:latest")" ] || no "api runs $runs"
cmp -s host/compose-2.0.yml /srv/hive/docker-compose.yml || no "the compose file is another one"
grep -q UNIFIED /srv/hive/.env || no ".env is another one"
[ "$(cat /srv/hive/VERSION)" = 2.0.0 ] || no "VERSION says $(cat /srv/hive/VERSION)"
cmp -s host/config-2.0/hive.json /etc/hive/hive.json || no "hive.json is another one"
[ "$(ls /etc/hive)" = "$(ls host/config-2.0)" ] || no "/etc/hive holds" /etc/hive/*
said=$(ask_database "SELECT (SELECT * FROM pragma_user_version), count(*) FROM agents_v2") || no "no agents of 2.0"
[ "$said" = '2|4' ] || no "schema and agents are $said"
said=$(docker exec "$(container redis)" redis-cli EXISTS hive:contexts)
[ "$said" = 0 ] || no "the contexts are there"
[ "$(weights)" = '0 100' ] || no "the weights are $(weights)"
said=$(systems 6)
of "$said" error 1 3
of "$said" 'new 2.0.0' 3 5
of "$said" 'stable 0.9.8' 0 0
