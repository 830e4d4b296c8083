#!/bin/sh
# Version 1.1 of Virtual Agora on this host: service, nginx before it, visitors, a mail relay.
set -eu
tools=/usr/local/lib/virtual-agora

install -d "$tools" /etc/virtual-agora /var/spool/agora-mail
install -d -o www-data -g www-data -m 0750 /var/lib/virtual-agora /var/log/virtual-agora
cp host/tools/* "$tools/"

if [ ! -d /opt/virtual-agora/.git ]; then
    cp -r host/v1.1 /opt/virtual-agora
    cd /opt/virtual-agora
    git init --quiet --initial-branch=main
    git config user.name agora && git config user.email agora@agora.example
    git add --all && git commit --quiet --message='Version 1.1' && git tag v1.1-stable
    cd - >/dev/null
fi
[ -e /etc/virtual-agora/config.yml ] || cp host/system/config-1.1.yml /etc/virtual-agora/config.yml
[ -e /etc/virtual-agora/agora.env ] || cp host/system/agora-1.1.env /etc/virtual-agora/agora.env
[ -e /var/lib/virtual-agora/checkpoints ] || setpriv --reuid www-data --regid www-data --clear-groups \
    python3 -B "$tools/data_v1_1.py" /var/lib/virtual-agora

cp host/system/*.service /etc/systemd/system/
rm -f /etc/nginx/sites-enabled/default
cp host/system/agora-upstream.conf host/system/agora.conf /etc/nginx/conf.d/
systemctl daemon-reload
systemctl restart agora-mailbox virtual-agora nginx agora-visitors
sh host/wait.sh http://127.0.0.1/health
