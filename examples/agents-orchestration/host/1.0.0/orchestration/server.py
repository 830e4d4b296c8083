"""The service: works without end, and answers how it is."""

import datetime
import json
import os
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from orchestration import VERSION, metrics, settings


def log(level, text):
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    os.makedirs("logs", exist_ok=True)
    with open("logs/orchestrator.log", "a", encoding="utf-8") as file:
        file.write(f"{now} {level} {text}\n")


def tell_systemd(word):
    where = os.environ.get("NOTIFY_SOCKET", "")
    if where:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(word.encode(), where.replace("@", "\0", 1) if where.startswith("@") else where)


class State:
    def __init__(self, coordinator):
        self.coordinator = coordinator
        self.counters = metrics.load()

    def health(self):
        problems = self.coordinator.problems
        return {"status": "degraded" if problems else "ok", "version": VERSION, "problems": problems}

    def measured(self):
        return {**self.counters, "error_rate": metrics.error_rate(self.counters)}

    def work(self):
        for number in range(sys.maxsize):
            try:
                steps, text = self.coordinator.work(number)
                self.counters["workflows_ok"] += 1
                log("INFO", f"workflow {number}: {steps} steps, {len(text)} characters")
            except Exception as problem:
                self.counters["workflows_failed"] += 1
                log("ERROR", f"workflow {number}: {problem}")
            metrics.save(self.counters)
            time.sleep(0.5)


def handler(state):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = urlsplit(self.path)
            if asked.path == "/health":
                body = state.health()
                return self.answer(200 if body["status"] == "ok" else 503, body)
            if asked.path == "/metrics.json":
                return self.answer(200, state.measured())
            if asked.path == "/api/v1/query":
                return self.query(parse_qs(asked.query).get("query", [""])[0])
            return self.answer(404, {"error": "no such page"})

        def query(self, name):
            """As Prometheus answers a query that is a bare name."""
            values = state.measured()
            series = [{"metric": {"__name__": name}, "value": [time.time(), str(values[name])]}] if name in values else []
            self.answer(200, {"status": "success", "data": {"resultType": "vector", "result": series}})

        def answer(self, code, body):
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    return Handler


def main():
    try:
        config = settings.load()
        from orchestration.coordinator import AgentCoordinator

        state = State(AgentCoordinator(config))
        server = ThreadingHTTPServer(("127.0.0.1", config["port"]), handler(state))
    except Exception as problem:
        log("ERROR", f"cannot start: {type(problem).__name__}: {problem}")
        return 1
    log("INFO", f"version {VERSION} is up")
    threading.Thread(target=state.work, daemon=True).start()
    tell_systemd("READY=1")
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
