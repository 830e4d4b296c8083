"""Takes alerts from those who know the token, each once, and keeps them in a file."""
import pathlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = pathlib.Path("/etc/hive-ops/pager.token").read_text().strip()
KEPT = pathlib.Path("/var/log/hive-alerts")
known = set()


class Pager(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        welcome = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        key = self.headers.get("Idempotency-Key")
        if welcome and (key is None or key not in known):
            known.add(key)
            with KEPT.open("a", encoding="utf-8") as file:
                file.write(body.replace("\n", " ") + "\n")
        self.send_response(202 if welcome else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", 9400), Pager).serve_forever()
