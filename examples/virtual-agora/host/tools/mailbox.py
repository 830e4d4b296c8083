"""A mail relay that keeps every letter as a file."""

import itertools
import socketserver
import sys
from pathlib import Path

FOLDER = Path(sys.argv[1])
numbers = itertools.count(len(list(FOLDER.glob("*.eml"))))


class Relay(socketserver.StreamRequestHandler):
    def handle(self):
        self.say("220 mailbox")
        while line := self.rfile.readline().decode(errors="replace").strip():
            word = line.split()[0].upper()
            if word == "DATA":
                self.say("354 go on")
                self.keep()
            self.say("221 bye" if word == "QUIT" else "250 ok")
            if word == "QUIT":
                return

    def keep(self):
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b".\n", b""):
            lines.append(line[1:] if line.startswith(b"..") else line)
        (FOLDER / f"{next(numbers):04}.eml").write_bytes(b"".join(lines))

    def say(self, line):
        self.wfile.write(f"{line}\r\n".encode())


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


FOLDER.mkdir(parents=True, exist_ok=True)
Server(("127.0.0.1", 2525), Relay).serve_forever()
