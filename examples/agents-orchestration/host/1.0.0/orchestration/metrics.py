"""Counters that outlive a restart.

python -m orchestration.metrics reset    begins anew and keeps the old counters beside
python -m orchestration.metrics restore  takes those back, if there are any
"""

import json
import os
import sys

FILE = "/var/lib/agents/metrics.json"
KEPT = FILE + ".before-reset"
ZERO = {"workflows_ok": 0, "workflows_failed": 0}


def load():
    try:
        with open(FILE, encoding="utf-8") as file:
            return {**ZERO, **json.load(file)}
    except FileNotFoundError:
        return dict(ZERO)


def save(counters):
    with open(FILE + ".new", "w", encoding="utf-8") as file:
        json.dump(counters, file)
    os.replace(FILE + ".new", FILE)


def error_rate(counters):
    total = counters["workflows_ok"] + counters["workflows_failed"]
    return counters["workflows_failed"] / total if total else 0.0


def reset():
    # Once: a second reset must not take the new counters for the old ones.
    if os.path.exists(FILE) and not os.path.exists(KEPT):
        os.rename(FILE, KEPT)
    save(ZERO)


def restore():
    if os.path.exists(KEPT):
        os.replace(KEPT, FILE)


if __name__ == "__main__":
    {"reset": reset, "restore": restore}[sys.argv[1]]()
    print(json.dumps(load()))
