"""A small service: answers in JSON, and one dated line in its log for each event."""

import json
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

LOGS = Path("/var/log/aivillage")


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # Who asked did not wait for the answer: that is nobody's fault here.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Service:
    def __init__(self, name, port):
        self.name, self.port, self.routes = name, port, {}
        self.log_lock = threading.Lock()

    def route(self, method, path):
        def keep(answer):
            self.routes[method, path] = answer
            return answer

        return keep

    def log(self, level, text):
        line = f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {level} {self.name}: {text}\n"
        with self.log_lock:
            sys.stdout.write(line)
            sys.stdout.flush()
            with open(LOGS / f"{self.name}.log", "a", encoding="utf-8") as log:
                log.write(line)

    def every(self, seconds, work):
        """Does it again and again, and logs what goes wrong."""

        def run():
            while True:
                time.sleep(seconds)
                try:
                    work()
                except Exception as problem:
                    self.log("ERROR", problem)

        threading.Thread(target=run, daemon=True).start()

    def serve(self):
        server = Server(("127.0.0.1", self.port), handler(self))
        self.log("INFO", f"serves on port {self.port}")
        server.serve_forever()


def handler(service):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.reply("GET", {})

        def do_POST(self):
            length = int(self.headers.get("Content-Length") or 0)
            self.reply("POST", json.loads(self.rfile.read(length) or b"{}"))

        def reply(self, method, asked):
            address = urlsplit(self.path)
            asked.update({key: values[0] for key, values in parse_qs(address.query).items()})
            answer = service.routes.get((method, address.path))
            status, body = 404, {"error": "nothing is here"}
            if answer:
                try:
                    status, body = 200, answer(asked)
                except Exception as problem:
                    service.log("ERROR", f"{method} {address.path}: {problem}")
                    status, body = 500, {"error": str(problem)}
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    return Handler


def ask(address, body=None, timeout=5):
    """The JSON that another service answers with."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)
