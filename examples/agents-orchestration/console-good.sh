#!/bin/sh
# Exits 0 when the console in use is that of 1.0.0, with all its parts.
wrong() { echo "not well: $*" >&2; exit 1; }
curl --silent http://127.0.0.1:8091/ | grep -q 'Console 1.0.0' || wrong "the console is $(curl --silent http://127.0.0.1:8091/)"
script=$(curl --silent http://127.0.0.1:8091/ | sed 's/.*script src="\([^"]*\)".*/\1/')
curl --silent --fail --output /dev/null "http://127.0.0.1:8091/$script" || wrong "the console lacks $script"
