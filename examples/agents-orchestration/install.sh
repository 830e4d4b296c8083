#!/bin/sh
# The good version, 1.0.0, as its operators deploy it. Run again, it makes the
# host anew.
set -eu
here=$(dirname "$(readlink -f "$0")")
as_agents() { runuser -u www-data -- "$@"; }

systemctl stop agent-orchestration 2>/dev/null || true
rm -rf /opt/agents /opt/agents.* /srv/agents /srv/upstream /srv/wheels /srv/evidence /var/lib/agents /etc/agents
mkdir -p /opt/agents /srv/agents/releases /srv/upstream /srv/wheels /srv/evidence /var/lib/agents /etc/agents
chown www-data:www-data /opt/agents /srv/agents /srv/agents/releases /srv/upstream /var/lib/agents

# Both versions stand upstream (a folder here, for lack of a network); only the
# good one is deployed.
python3 "$here/host/wheel.py" "$here/host/packages" /srv/wheels
git_of() { as_agents git -C /srv/upstream/tree -c user.name=ada -c user.email=ada@agents.example "$@"; }
as_agents git init --quiet --initial-branch main /srv/upstream/tree
for version in 1.0.0 1.1.0; do
    cp -R "$here/host/$version/." /srv/upstream/tree/
    chown -R www-data:www-data /srv/upstream/tree
    git_of add --all
    git_of commit --quiet --message "Agents $version"
    git_of tag --annotate --message "Agents $version" "v$version"
done
as_agents git clone --quiet --no-local --branch v1.0.0 --single-branch /srv/upstream/tree /opt/agents 2>/dev/null
as_agents git -C /opt/agents checkout --quiet -B main v1.0.0

as_agents python3 -m venv /opt/agents/.venv
as_agents /opt/agents/.venv/bin/pip --quiet --disable-pip-version-check --no-cache-dir install \
    --no-index --find-links /srv/wheels --requirement /opt/agents/requirements.txt
cp -R "$here/host/state/." /opt/agents/
mkdir -p /opt/agents/logs
chown -R www-data:www-data /opt/agents

# Blue and green: a folder for each release, and a link to the one in use.
sh "$here/release.sh" 1.0.0
as_agents ln -s /srv/agents/releases/1.0.0 /srv/agents/current

cp "$here/host/system/agent-orchestration.service" /etc/systemd/system/
cp "$here/host/system/agents-console.conf" /etc/nginx/sites-enabled/
systemctl daemon-reload
systemctl reset-failed agent-orchestration 2>/dev/null || true
systemctl enable --quiet --now agent-orchestration
systemctl enable --quiet nginx
systemctl restart nginx
(cd /opt/agents && sha256sum config/*.json artifacts/*) > /srv/evidence/good
sh "$here/modes.sh" > /srv/evidence/good-modes
