#!/bin/sh
# Until an address answers well, for 20 s at most.
for _ in $(seq 100); do
    curl --silent --fail --max-time 2 --output /dev/null "$1" && exit 0
    sleep 0.2
done
echo "$1 does not answer well" >&2
exit 1
