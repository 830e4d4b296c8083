#!/bin/sh
# The deployment of 1.3: new code, configuration and data; one round in ten fails from then on.
set -eu
data=/var/lib/virtual-agora

systemctl stop virtual-agora
cp -r host/v1.3/. /opt/virtual-agora/
git -C /opt/virtual-agora rm --quiet --force tests/agents/test_factory.py tests/flow/test_graph.py tests/ui/test_hitl.py
git -C /opt/virtual-agora add --all
git -C /opt/virtual-agora commit --quiet --message='Version 1.3: specialists'
git -C /opt/virtual-agora tag v1.3.0
cp host/system/config-1.3.yml /etc/virtual-agora/config.yml
cp host/system/agora-1.3.env /etc/virtual-agora/agora.env
setpriv --reuid www-data --regid www-data --clear-groups python3 -B /usr/local/lib/virtual-agora/data_v1_3.py "$data"
systemctl start virtual-agora
sh host/wait.sh http://127.0.0.1/health
systemctl restart agora-visitors
sh host/record.sh
