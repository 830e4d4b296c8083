#!/bin/sh
# Who may read and run what, of all that git and pip wrote.
cd /opt/agents && find . \( -path ./.git -o -path ./logs -o -name __pycache__ -o -name '.sternway-*' \) -prune -o \
    \( -type f -o -type d \) -printf '%m %u %P\n' | sort -k 3
