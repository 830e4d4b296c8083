"""The gateway to the models, which hive 1.4 asks at each request and 2.0 never."""
import pathlib
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DELAY = pathlib.Path("/etc/hive-model/delay_ms")


class Gateway(BaseHTTPRequestHandler):
    def do_GET(self):
        if DELAY.exists():
            time.sleep(int(DELAY.read_text()) / 1000)
        body = b"by priority\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("0.0.0.0", 9300), Gateway).serve_forever()
