"""Stands for what tells people: a pager and a status page over HTTP, and a mail relay.

Takes only what comes with the token, writes every notice as a line of JSON, and
takes a notice with an `Idempotency-Key` that it has seen for the same notice.
"""

import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = Path("/etc/aivillage/pager.token").read_text().strip()
NOTICES = Path("/var/lib/pager/notices.jsonl")
STATUS = Path("/var/lib/pager/status")
seen, lock = set(), threading.Lock()


def keep(kind, key, notice):
    with lock:
        if key and key in seen:
            return
        seen.add(key)
        with NOTICES.open("a", encoding="utf-8") as notices:
            notices.write(json.dumps({"kind": kind, "notice": notice}) + "\n")


class Web(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(200, STATUS.read_text())

    def do_POST(self):
        body = self.body()
        if body is not None:
            keep("page", self.headers.get("Idempotency-Key"), json.loads(body))
            self.reply(202, "taken")

    def do_PUT(self):
        body = self.body()
        if body is not None:
            STATUS.write_text(body)
            self.reply(200, "shown")

    def body(self):
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return text
        self.reply(401, "who are you?")
        return None

    def reply(self, status, text):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


class Mail(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 pager")
        receivers = []
        for line in self.rfile:
            word = line.strip().upper()
            if word.startswith(b"RCPT TO:"):
                receivers.append(line.decode().split(":", 1)[1].strip().strip("<>"))
            if word == b"DATA":
                self.say("354 go on")
                keep("mail", None, {"to": receivers, "text": self.letter()})
            self.say("221 bye" if word == b"QUIT" else "250 ok")
            if word == b"QUIT":
                return

    def letter(self):
        lines = []
        for line in self.rfile:
            if line.rstrip(b"\r\n") == b".":
                break
            lines.append(line.decode(errors="replace"))
        return "".join(lines)

    def say(self, text):
        self.wfile.write(f"{text}\r\n".encode())


class Relay(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    threading.Thread(target=Relay(("127.0.0.1", 2525), Mail).serve_forever, daemon=True).start()
    ThreadingHTTPServer(("127.0.0.1", 9009), Web).serve_forever()
