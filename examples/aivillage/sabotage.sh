#!/bin/sh
# Nobody answers for the fourth peer that this host knows: 2.4 does not ask, 2.3
# waits 0.3 s for it in each answer. No rollback point holds this file.
set -eu
echo '{ "peers": ["127.0.0.1:8101", "127.0.0.1:8102", "127.0.0.1:8103", "127.0.0.1:8199"] }' > /var/lib/aivillage/peers.json
