#!/bin/sh
# A visitor who asks twice a second, and writes down what comes back.
while sleep 0.5; do
  curl -s -m 5 -o /run/visitor/said -w '%{http_code} ' 'http://127.0.0.1/api/query?query=tower&user_id=rollback_test'
  head -c 40 /run/visitor/said | tr '\n' ' '
  echo
done >> /var/lib/visitor/seen
