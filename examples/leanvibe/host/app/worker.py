"""Takes tasks from the queue, does them, and writes down that they are done."""
import json
import pathlib
import signal
import sys
import time

import hive
import release

BEAT = pathlib.Path("/tmp/beat")
SETTINGS = json.loads(pathlib.Path("/config", release.SETTINGS).read_text())


def do(redis, task):
    db = hive.database()
    if hive.schema(db) != release.SCHEMA:
        sys.exit(f"this worker knows schema {release.SCHEMA}, the database has {hive.schema(db)}")
    if "probe" in task:
        db.execute("SELECT count(*) FROM tasks").fetchone()
        redis("RPUSH", f"hive:probe:{task['probe']}", release.VERSION)
        redis("EXPIRE", f"hive:probe:{task['probe']}", 30)
    else:
        with db:
            db.execute("INSERT OR IGNORE INTO tasks (id, text, done_by) VALUES (?, ?, ?)", (task["task"], task["text"], release.VERSION))
    db.close()


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
while True:
    try:
        with hive.Redis() as redis:
            while True:
                BEAT.touch()
                if SETTINGS["concurrency"] == 0:  # as configured: nobody works
                    time.sleep(1)
                    continue
                taken = redis("BLPOP", release.QUEUE, 2)
                if taken:
                    do(redis, json.loads(taken[1]))
    except OSError as cause:
        print(f"the queue is away: {cause}", file=sys.stderr)
        time.sleep(0.5)
