"""What the interface and the worker of the hive share: configuration, database, queue."""
import json
import os
import socket
import sqlite3

CONFIG = os.environ.get("HIVE_CONFIG", "/config/hive.json")
DATABASE = os.environ.get("HIVE_DATABASE", "/data/hive.db")


def config():
    with open(CONFIG, encoding="utf-8") as file:
        return json.load(file)


def database():
    return sqlite3.connect(DATABASE, timeout=5)


def schema(db):
    return db.execute("PRAGMA user_version").fetchone()[0]


class Redis:
    """As much of Redis's protocol as is needed here."""

    def __init__(self, timeout=5):
        self.line = socket.create_connection((os.environ.get("REDIS_HOST", "redis"), 6379), timeout=timeout)
        self.answers = self.line.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.answers.close()
        self.line.close()

    def __call__(self, *words):
        packed = [str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(packed)] + [b"$%d\r\n%s\r\n" % (len(word), word) for word in packed]
        self.line.sendall(b"".join(parts))
        return self._answer()

    def _answer(self):
        line = self.answers.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise OSError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.answers.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return None if rest == b"-1" else [self._answer() for _ in range(int(rest))]
        return rest.decode()
