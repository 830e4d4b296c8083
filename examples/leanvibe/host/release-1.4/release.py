"""Hive 1.4: agents from the database, ranked by the model."""
import os
import urllib.request

import hive

VERSION = "1.4.2"
SCHEMA = 1
SETTINGS = "worker.json"
QUEUE = "hive:tasks"


def parts(config):
    known = set(config) == {"orchestrator", "context", "model", "limits"}
    return {"config": "ok" if known else f"keys {sorted(config)}"}


def agents():
    with urllib.request.urlopen(f"http://{os.environ['MODEL']}/rank", timeout=5) as answer:
        ranking = answer.read().decode().strip()
    db = hive.database()
    rows = db.execute("SELECT name, role, priority FROM agents ORDER BY priority, name").fetchall()
    db.close()
    said = [{"name": name, "role": role, "priority": priority} for name, role, priority in rows]
    return 200, {"system": "new", "version": VERSION, "ranked": ranking, "agents": said}
