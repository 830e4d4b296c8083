"""The interface of the hive: agents, tasks, and how well it does."""
import json
import math
import os
import signal
import sys
import threading
import time
import urllib.parse
import uuid
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import hive
import release

WINDOW_SECONDS = 60
seen = deque(maxlen=20000)  # (when, seconds, failed) of each request that a user made
lock = threading.Lock()
log = open("/log/api.log", "a", buffering=1, encoding="utf-8")


def health():
    parts = {}
    try:
        db = hive.database()
        parts["database"] = "ok" if hive.schema(db) == release.SCHEMA else f"schema {hive.schema(db)}"
        db.close()
    except Exception as cause:
        parts["database"] = str(cause)
    try:
        with hive.Redis() as redis:
            parts["queue"] = "ok" if redis("PING") == "PONG" else "no answer"
    except OSError as cause:
        parts["queue"] = str(cause)
    try:
        parts.update(release.parts(hive.config()))
    except Exception as cause:
        parts["config"] = str(cause)
    well = all(value == "ok" for value in parts.values())
    return (200 if well else 503), {
        "status": "healthy" if well else "unhealthy",
        "system": "new",
        "version": release.VERSION,
        "components": parts,
    }


def selftest():
    """Through the queue to the worker, into the database, and back."""
    probe = uuid.uuid4().hex
    with hive.Redis() as redis:
        redis("RPUSH", release.QUEUE, json.dumps({"probe": probe}))
        answer = redis("BLPOP", f"hive:probe:{probe}", 3)
    well = bool(answer) and answer[1] == release.VERSION
    return (200 if well else 503), {"worker": answer[1] if answer else "silent"}


def measured():
    now = time.time()
    with lock:
        recent = [one for one in seen if one[0] >= now - WINDOW_SECONDS]
    with open("/proc/self/statm", encoding="ascii") as file:
        memory = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    values = {
        "hive_memory_bytes": memory,
        "hive_cpu_percent": 100 * time.process_time() / max(time.monotonic() - born, 0.001),
    }
    if recent:
        times = sorted(one[1] for one in recent)
        values["hive_response_seconds_p95"] = times[max(0, math.ceil(0.95 * len(times)) - 1)]
        values["hive_error_ratio"] = sum(one[2] for one in recent) / len(recent)
        values["hive_requests_per_second"] = len(recent) / max(now - recent[0][0], 1)
    return values


def query(text):
    """As Prometheus answers an instant query; what was not measured has no series."""
    value = measured().get(text)
    result = [] if value is None else [{"metric": {"__name__": text}, "value": [time.time(), repr(float(value))]}]
    return 200, {"status": "success", "data": {"resultType": "vector", "result": result}}


def tasks(body):
    task = uuid.uuid4().hex
    with hive.Redis() as redis:
        redis("RPUSH", release.QUEUE, json.dumps({"task": task, "text": body.decode()}))
    return 202, {"task": task}


def task(name):
    db = hive.database()
    row = db.execute("SELECT text, done_by FROM tasks WHERE id = ?", (name,)).fetchone()
    db.close()
    return (200, {"task": name, "text": row[0], "done_by": row[1]}) if row else (404, {"task": name})


class Interface(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        path = url.path.removeprefix("/api/v1")
        if path == "/system/health":
            return self.answer(*health(), counts=False)
        if path == "/system/metrics":
            return self.answer(200, {"performance": measured()}, counts=False)
        if path == "/query":
            wanted = urllib.parse.parse_qs(url.query).get("query", [""])[0]
            return self.answer(*query(wanted), counts=False)
        if path == "/system/selftest":
            return self.timed(selftest)
        if path == "/agents":
            return self.timed(release.agents)
        if path.startswith("/tasks/"):
            return self.timed(lambda: task(path.removeprefix("/tasks/")))
        return self.answer(404, {"error": "there is nothing here"}, counts=False)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Authorization") != f"Bearer {os.environ['HIVE_TOKEN']}":
            return self.answer(401, {"error": "who are you?"}, counts=False)
        if self.path == "/api/v1/tasks":
            return self.timed(lambda: tasks(body))
        return self.answer(404, {"error": "there is nothing here"}, counts=False)

    def timed(self, work):
        began = time.monotonic()
        try:
            status, said = work()
        except Exception as cause:
            status, said = 500, {"error": str(cause)}
        self.answer(status, said, counts=True, began=began)

    def answer(self, status, said, counts, began=None):
        took = time.monotonic() - began if began else 0
        if counts:
            with lock:
                seen.append((time.time(), took, status >= 500))
        level = "ERROR" if status >= 500 else "INFO"
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        why = f" {said.get('error', '')}" if status >= 500 else ""
        log.write(f"{stamp},{int(time.time() * 1000) % 1000:03d} {level} {self.command} {self.path} {status} {took * 1000:.0f}ms{why}\n")
        body = json.dumps(said).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
born = time.monotonic()
ThreadingHTTPServer.daemon_threads = True
ThreadingHTTPServer(("0.0.0.0", 8000), Interface).serve_forever()
