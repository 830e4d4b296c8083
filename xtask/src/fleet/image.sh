#!/bin/sh
# Builds the root file system of every machine of the test fleet: Debian bookworm
# with systemd and the services that plugins are tried on, all of them disabled.
# Nothing is started while it is built, and nothing of this machine stays in it.
# Started by `cargo xtask fleet`, in a mount namespace of its own, with ROOT (the
# folder to make), MIRROR and SECURITY (addresses of Debian, SECURITY perhaps empty).
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

packages="dbus iproute2 iputils-ping procps ca-certificates less file
  postgresql mariadb-server sqlite3 redis-server
  nginx-light haproxy
  docker.io docker-compose docker-registry iptables nftables
  git python3-venv python3-pip
  zstd xz-utils zip unzip busybox-static acl attr rsync
  curl jq netcat-openbsd restic"

debootstrap --variant=minbase --include=systemd,systemd-sysv bookworm "$ROOT" "$MIRROR"

inside() { chroot "$ROOT" "$@"; }

# Nothing starts in a folder.
printf '#!/bin/sh\nexit 101\n' > "$ROOT/usr/sbin/policy-rc.d"
chmod 0755 "$ROOT/usr/sbin/policy-rc.d"
# Names and proxies as this machine has them, while packages come in.
cp /etc/resolv.conf "$ROOT/etc/resolv.conf"
apt-config dump | grep '^Acquire::' > "$ROOT/etc/apt/apt.conf.d/99machine" || true
[ ! -d /etc/apt/auth.conf.d ] || cp -r /etc/apt/auth.conf.d "$ROOT/etc/apt/"
cat > "$ROOT/etc/dpkg/dpkg.cfg.d/small" <<'EOF'
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
EOF
{
  echo "deb $MIRROR bookworm main"
  echo "deb $MIRROR bookworm-updates main"
  [ -z "$SECURITY" ] || echo "deb $SECURITY bookworm-security main"
} > "$ROOT/etc/apt/sources.list"
inside apt-get update --quiet
# shellcheck disable=SC2086 # a list of words
inside apt-get install --quiet --yes --no-install-recommends $packages

# `docker compose`, the second version, comes from the next Debian; it stands alone.
echo "deb $MIRROR trixie main" > "$ROOT/etc/apt/sources.list"
inside apt-get update --quiet
inside sh -c 'cd /tmp && apt-get download --quiet docker-compose/trixie && dpkg-deb -x docker-compose_2*.deb compose'
install -D -m 0755 "$ROOT/tmp/compose/usr/libexec/docker/cli-plugins/docker-compose" \
  "$ROOT/usr/libexec/docker/cli-plugins/docker-compose"

inside systemctl --quiet disable postgresql.service mariadb.service redis-server.service nginx.service \
  haproxy.service docker.service docker.socket containerd.service docker-registry.service nftables.service \
  rsync.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
  e2scrub_reap.service
# In a container no service can have users of its own.
mkdir -p "$ROOT/etc/systemd/system/redis-server.service.d"
printf '[Service]\nPrivateUsers=no\n' > "$ROOT/etc/systemd/system/redis-server.service.d/container.conf"
# A registry that asks nobody for a password.
cat > "$ROOT/etc/docker/registry/config.yml" <<'EOF'
version: 0.1
storage:
  filesystem: { rootdirectory: /var/lib/docker-registry }
  delete: { enabled: true }
http: { addr: ":5000" }
EOF
# What a host wrote down is there after it was killed and booted.
mkdir -p "$ROOT/var/log/journal" "$ROOT/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=persistent\nSystemMaxUse=64M\n' > "$ROOT/etc/systemd/journald.conf.d/fleet.conf"

rm -rf "$ROOT"/tmp/* "$ROOT"/var/lib/apt/lists/* "$ROOT"/var/cache/apt/*.bin "$ROOT/etc/apt/auth.conf.d" \
  "$ROOT/etc/apt/apt.conf.d/99machine" "$ROOT/etc/apt/sources.list" "$ROOT/etc/resolv.conf" \
  "$ROOT/usr/sbin/policy-rc.d" "$ROOT/var/lib/dbus/machine-id" "$ROOT/etc/hostname"
inside apt-get clean
: > "$ROOT/etc/machine-id"
