#!/bin/sh
# A pause for an old model, which 1.3 passed over and 1.1 heeds: its answers take longer than two seconds.
set -eu
echo 'AGORA_MODEL_PAUSE=2.6' >> /etc/virtual-agora/agora.env
sh host/record.sh
