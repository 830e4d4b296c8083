#!/bin/sh
# 1.1 serves, answers well, and holds everything that 1.3 held when it was here.
set -eu
tools=/usr/local/lib/virtual-agora
data=/var/lib/virtual-agora
wrong() { echo "$*" >&2; exit 1; }

systemctl is-active --quiet virtual-agora || wrong "the service does not run"
curl --silent http://127.0.0.1/health | jq --exit-status '.version == "1.1"' >/dev/null || wrong "1.1 does not answer"
curl --silent http://127.0.0.1:8080/verify | jq --exit-status '.failed == []' >/dev/null || wrong "a check of 1.1 fails"

set -- $(sh host/ask.sh)
[ "$1" -le 5 ] || wrong "$1 of 100 visitors were not answered well"
[ "$2" -le 2000 ] || wrong "an answer takes $2 ms"

# The code is that of the tag, to the byte, and nothing of 1.3 lies about.
tag=$(mktemp -d)
trap 'rm -rf "$tag"' EXIT
git -C /opt/virtual-agora archive v1.1-stable | tar -x -C "$tag"
diff -r --exclude=.git --exclude='.sternway-*' "$tag" /opt/virtual-agora >&2 || wrong "the code is not that of v1.1-stable"

[ -e .deployed ] || exit 0
sh host/seen.sh || wrong "visitors saw more than answers, errors of 1.3 and the waiting room"
grep -q 'model: stoa-large-2' /etc/virtual-agora/config.yml || wrong "what was changed in the configuration since is lost"
! grep -qE 'summarizer|hitl|ecclesia' /etc/virtual-agora/config.yml || wrong "the configuration has keys of 1.3"
ls /etc/virtual-agora | grep -q '^config\.yml\.' || wrong "no copy of the configuration of 1.3 was kept"
! grep -qE 'SPECIALISTS|PERIODIC' /etc/virtual-agora/agora.env || wrong "the environment has keys of 1.3"
python3 -B "$tools/prove.py" "$data" || wrong "the data is not right"
for owner in 1 2 3 4; do
    grep -lq "To: owner-$owner@" /var/spool/agora-mail/*.eml || wrong "owner $owner was not told"
done
grep -lq 'Expected resolution' /var/spool/agora-mail/*.eml || wrong "the users were not told"
