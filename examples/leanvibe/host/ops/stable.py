"""The stable system: what served before the hive, and still can."""
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Interface(BaseHTTPRequestHandler):
    def do_GET(self):
        said = {"system": "stable", "version": "0.9.8", "status": "healthy", "agents": []}
        body = json.dumps(said).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", 8100), Interface).serve_forever()
