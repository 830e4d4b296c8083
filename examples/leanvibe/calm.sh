#!/bin/sh
# Whether this host is out of danger after an emergency: all that good.sh wants,
# but with every user on the stable system.
set -eu
users='on the stable system'
. ./good.sh
