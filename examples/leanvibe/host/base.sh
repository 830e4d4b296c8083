#!/bin/sh
# Makes the image `hive/base:1` out of programs of this host, since no image can
# be fetched: busybox, Python with SQLite, Redis, and the libraries they need.
set -eu
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/usr/lib64" "$root/tmp" "$root/etc"
ln -s usr/bin "$root/bin"; ln -s usr/lib "$root/lib"; ln -s usr/lib64 "$root/lib64"
cp /bin/busybox "$root/bin/busybox"
for word in sh cat date env ls mkdir sleep stat test wget; do ln -s busybox "$root/bin/$word"; done
echo 'root:x:0:0:root:/:/bin/sh' > "$root/etc/passwd"
python=$(readlink -f /usr/bin/python3)
stdlib=/usr/lib/$(basename "$python")
cp "$python" "$root/bin/python3"
cp -L /usr/bin/redis-server /usr/bin/redis-cli "$root/bin/"
tar -C / -c --exclude=test --exclude=tests --exclude=idlelib --exclude=lib2to3 --exclude=ensurepip --exclude=distutils \
  --exclude=pydoc_data --exclude=unittest --exclude='config-*' --exclude='_codecs_*' --exclude='_test*' "${stdlib#/}" | tar -C "$root" -x
for program in "$python" /usr/bin/redis-server /usr/bin/redis-cli "$stdlib"/lib-dynload/_sqlite3.*.so; do ldd "$program"; done \
  | sed -n 's|^[^/]*\(/[^ ]*\) (0x.*|\1|p' | sort -u | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done
tar -C "$root" -c . | docker import --change 'ENV PATH=/usr/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1' - hive/base:1 > /dev/null
