"""Hive 2.0, the great consolidation: one context manager for everything, which never comes up."""
import itertools
import time

import hive

VERSION = "2.0.0"
SCHEMA = 2
SETTINGS = "orchestrator.json"
QUEUE = "hive:v2:tasks"
count = itertools.count(1)


def parts(config):
    return {
        "config": "ok" if config.get("unified") else "not unified",
        "context manager": "not initialised",
    }


def agents():
    time.sleep(0.4)  # it reads all contexts of everybody, every time
    if next(count) % 3 == 0:
        raise RuntimeError("context manager: not initialised")
    db = hive.database()
    rows = db.execute("SELECT name FROM agents_v2 ORDER BY name").fetchall()
    db.close()
    return 200, {"system": "new", "version": VERSION, "agents": [{"name": name} for name, in rows]}
