#!/bin/sh
# Installs Sternway on one machine with systemd, or brings what is installed up
# to date. Run it again with newer programs: they are replaced by a rename and
# the service is restarted; configuration is touched only when --from names some.
set -eu

usage() {
  cat >&2 <<'EOF'
install.sh agent [--from DIR] [--bin DIR]         this machine becomes a host of a fleet
install.sh coordinator [--from DIR] [--bin DIR]   this machine conducts a fleet
install.sh remove agent|coordinator               ends the service and removes program and unit;
                                                  /etc/sternway and the state under /var/lib stay

--from DIR   files for /etc/sternway: agent.toml or coordinator.toml, keyring.toml, certificates, keys
--bin DIR    where the programs lie [default: bin beside this script]
EOF
  exit 2
}

say() { echo "install.sh: $*" >&2; }
fail() { say "$*"; exit 1; }

here="$(cd "$(dirname "$0")" && pwd -P)"
role="${1:-}"
[ -n "$role" ] || usage
shift

remove=no
if [ "$role" = remove ]; then
  remove=yes
  role="${1:-}"
  [ -n "$role" ] || usage
  shift
fi
case "$role" in
  agent) program=sternway-agent unit=sternway-agent.service config=agent.toml ;;
  coordinator) program=sternway unit=sternway-coordinator.service config=coordinator.toml ;;
  *) usage ;;
esac

from='' bin="$here/bin"
while [ $# -gt 0 ]; do
  [ $# -ge 2 ] || usage
  case "$1" in
    --from) from="$2" ;;
    --bin) bin="$2" ;;
    *) usage ;;
  esac
  shift 2
done

[ "$(id -u)" = 0 ] || fail "needs root"
[ -d /run/systemd/system ] || fail "needs a machine that runs systemd"

if [ "$remove" = yes ]; then
  systemctl disable --quiet --now "$unit" || true
  rm -f "/etc/systemd/system/$unit" "/usr/local/bin/$program"
  systemctl daemon-reload
  say "$unit is removed; /etc/sternway and its state stay"
  exit 0
fi

[ -f "$bin/$program" ] || fail "$bin/$program is not there; name its folder with --bin"
[ -z "$from" ] || [ -f "$from/$config" ] || fail "$from holds no $config"

# In one step, so that there is never half a program, and a running one keeps the file it has.
put() { # FROM TO MODE
  install -D -m "$3" "$1" "$2.new"
  mv -f "$2.new" "$2"
}

owner=root
if [ "$role" = coordinator ]; then
  owner=sternway
  if ! getent passwd sternway >/dev/null; then
    useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin sternway
  fi
fi

put "$bin/$program" "/usr/local/bin/$program" 0755
put "$here/$unit" "/etc/systemd/system/$unit" 0644

install -d -m 0755 /etc/sternway
if [ -n "$from" ]; then
  for file in "$from"/*; do
    [ -f "$file" ] || continue
    name="$(basename "$file")"
    case "$name" in *.key) mode=0600 ;; *) mode=0644 ;; esac
    put "$file" "/etc/sternway/$name" "$mode"
    case "$name" in *.key) chown "$owner:" "/etc/sternway/$name" ;; esac
  done
fi
[ -f "/etc/sternway/$config" ] || fail "/etc/sternway/$config is missing; write it (docs/operating.md) or name a folder with --from"

systemctl daemon-reload
systemctl enable --quiet "$unit"
systemctl restart "$unit"
say "$unit is $(systemctl is-active "$unit"); systemctl status $unit, journalctl -u $unit"
