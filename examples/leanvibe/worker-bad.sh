#!/bin/sh
# Whether the worker is up and does nothing, while users notice nothing yet.
set -eu
. host/common.sh
for service in redis api worker; do until_state "$service" healthy; done
grep -q '"concurrency": 0' /etc/hive/worker.json || no "worker.json is another one"
said=$(curl -s -m 8 "$own/system/selftest" | jq -r .worker)
[ "$said" = silent ] || no "the worker is at work: $said"
[ "$(weights)" = '20 80' ] || no "the weights are $(weights)"
