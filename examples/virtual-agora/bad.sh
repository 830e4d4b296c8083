#!/bin/sh
# 1.3 serves as it was deployed: every file to the byte, and one round in ten fails.
set -eu
wrong() { echo "$*" >&2; exit 1; }

systemctl is-active --quiet virtual-agora || wrong "the service does not run"
curl --silent http://127.0.0.1/health | jq --exit-status '.version == "1.3"' >/dev/null || wrong "1.3 does not answer"
curl --silent http://127.0.0.1:8080/verify | jq --exit-status '.failed == []' >/dev/null || wrong "a check of 1.3 fails"
sh host/record.sh --list | diff .deployed - >&2 || wrong "files are not as they were deployed"
[ "$(git -C /opt/virtual-agora rev-parse HEAD)" = "$(git -C /opt/virtual-agora rev-parse 'v1.3.0^{commit}')" ] \
    || wrong "the working tree is not on v1.3.0"

set -- $(sh host/ask.sh)
[ "$1" -gt 5 ] || wrong "only $1 of 100 visitors were not answered well"
sh host/seen.sh || wrong "visitors saw more than answers, errors of 1.3 and the waiting room"
