#!/bin/sh
# A hundred visitors at the front door: prints how many were not answered well, and the mean in milliseconds.
for _ in $(seq 100); do
    curl --silent --max-time 10 --output /dev/null --write-out '%{http_code} %{time_total}\n' http://127.0.0.1/topics/next
done | awk '$1 != 200 { bad += 1 } { took += $2 } END { printf "%d %d\n", bad, took * 1000 / NR }'
