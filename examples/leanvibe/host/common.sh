# What install.sh, break.sh and the two judges share; sourced in /srv/example.
registry=localhost:5000
public=http://127.0.0.1:8000/api/v1
own=http://127.0.0.1:8200/api/v1

# Either version of compose, whichever this host has.
compose() {
  if docker compose version > /dev/null 2>&1; then
    (cd /srv/hive && docker compose "$@")
  else
    (cd /srv/hive && docker-compose "$@")
  fi
}

# image NAME:TAG DOCKERFILE RELEASE: builds and pushes it; prints it by digest.
image() {
  box=$(mktemp -d)
  mkdir "$box/app" "$box/release"
  cp host/app/*.py "$box/app/"
  cp "host/release-$3/"*.py "$box/release/"
  docker build -q -f "host/$2" -t "$registry/$1" "$box" > /dev/null
  rm -rf "$box"
  docker push -q "$registry/$1" > /dev/null
  docker inspect -f '{{index .RepoDigests 0}}' "$registry/$1"
}

container() {
  docker ps -aq --filter label=com.docker.compose.project=hive --filter "label=com.docker.compose.service=$1"
}

# state SERVICE: healthy, unhealthy, starting, running, exited, or nothing.
state() {
  id=$(container "$1")
  [ -z "$id" ] || docker inspect -f '{{if .State.Health}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}' "$id"
}

# until_state SERVICE STATE: waits half a minute for it.
until_state() {
  for _ in $(seq 120); do
    [ "$(state "$1")" != "$2" ] || return 0
    sleep 0.5
  done
  echo "$1 is $(state "$1") and not $2" >&2
  docker logs --tail 5 "$(container "$1")" >&2 || true
  return 1
}

haproxy_says() { echo "$1" | nc -U -N -w 2 /run/haproxy/admin.sock; }

# weights: `20 80`, of the stable system and of the new one.
weights() {
  haproxy_says 'show servers state hive' | awk '$4 == "stable" { stable = $8 } $4 == "new" { new = $8 } END { print stable, new }'
}

ask_database() { python3 - "$1" <<'P'
import sqlite3, sys
db = sqlite3.connect("file:/var/lib/hive/data/hive.db?mode=ro", uri=True)
print("|".join(str(value) for value in db.execute(sys.argv[1]).fetchone()))
P
}

# systems COUNT: who answers so many users, as `4 stable 0.9.8` and so on.
systems() {
  for _ in $(seq "$1"); do
    curl -s -m 5 "$public/agents" | jq -r '"\(.system // "error") \(.version // "")"' 2> /dev/null || echo error
  done | sort | uniq -c | awk '{ $1 = $1; print }'
}

no() { echo "NO: $*" >&2; exit 1; }

# of SYSTEMS WHO LEAST MOST: so many users were answered by that one.
of() {
  count=$(echo "$1" | sed -n "s/^\([0-9]*\) $2\$/\1/p")
  [ "${count:-0}" -ge "$3" ] && [ "${count:-0}" -le "$4" ] || no "of the users: $1"
}
