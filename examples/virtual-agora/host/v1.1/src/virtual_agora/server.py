"""The service: topics are discussed over HTTP, sessions lie in files."""

import collections
import glob
import json
import logging
import os
import pickle
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from virtual_agora import settings
from virtual_agora.agents import agent_factory
from virtual_agora.flow import edges, graph, nodes
from virtual_agora.ui import components, human_in_the_loop

CONFIG = os.environ.get("AGORA_CONFIG", "/etc/virtual-agora/config.yml")
DATA = Path(os.environ.get("AGORA_DATA", "/var/lib/virtual-agora"))
LOG = os.environ.get("AGORA_LOG", "/var/log/virtual-agora/agora.log")
PORT = int(os.environ.get("AGORA_PORT", "8080"))
VERSION = (Path(__file__).parents[2] / "VERSION").read_text().strip()
WINDOW_SECONDS = 15

log = logging.getLogger("agora")
answers = collections.deque(maxlen=10_000)
turn = threading.Lock()
count = 0


def sessions():
    """Those this version reads, by id."""
    found = {}
    for path in sorted(glob.glob(str(DATA / "sessions" / nodes.SESSION_FILES))):
        with open(path, "rb") as file:
            state = pickle.load(file)
        if set(state) != nodes.SESSION_KEYS:
            raise ValueError(f"{path} is no session of {VERSION}: {sorted(set(state) ^ nodes.SESSION_KEYS)}")
        found[state["session_id"]] = (Path(path), state)
    return found


def checkpoint():
    with open(DATA / "checkpoints" / "current.pkl", "rb") as file:
        state = pickle.load(file)
    if set(state) != nodes.STATE_KEYS:
        raise ValueError(f"the checkpoint is none of {VERSION}: {sorted(set(state) ^ nodes.STATE_KEYS)}")
    return state


def holds(check):
    try:
        return bool(check())
    except Exception as cause:
        log.warning("a check does not hold: %s", cause)
        return False


def verified():
    config = settings.load(CONFIG)
    team = agent_factory.make(config)
    return {
        "config_valid": holds(lambda: set(config) == agent_factory.CONFIG_KEYS),
        "moderator_modes": holds(lambda: set(team["moderator"].modes) == graph.MODES),
        "graph_structure": holds(lambda: set(edges.NEXT) == set(graph.NODES) == set(nodes.WORK)),
        "ui_components": holds(lambda: set(components.SCREENS) == set(human_in_the_loop.APPROVALS)),
        "state_readable": holds(lambda: checkpoint() and sessions() is not None),
    }


def measured():
    since = time.monotonic() - WINDOW_SECONDS
    recent = [(seconds, is_good) for at, seconds, is_good in list(answers) if at >= since]
    if not recent:
        return {"requests": 0, "error_rate": None, "response_seconds": None}
    return {
        "requests": len(recent),
        "error_rate": sum(not is_good for _, is_good in recent) / len(recent),
        "response_seconds": sum(seconds for seconds, _ in recent) / len(recent),
    }


def discuss():
    """One round on the topic of the checkpoint; counted and measured."""
    global count
    with turn:
        count += 1
        number = count
    began = time.monotonic()
    is_good = False
    try:
        said = graph.run(number, checkpoint(), agent_factory.make(settings.load(CONFIG)))
        is_good = True
        return 200, {"version": VERSION, "said": said}
    except Exception as cause:
        log.error("round %d failed: %s", number, cause)
        return 500, {"version": VERSION, "error": str(cause)}
    finally:
        answers.append((time.monotonic(), time.monotonic() - began, is_good))


class Desk(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            self.say(200, {"status": "ok", "version": VERSION})
        elif self.path == "/verify":
            checks = verified()
            self.say(200, {"checks": checks, "failed": [name for name, is_right in checks.items() if not is_right]})
        elif self.path == "/metrics":
            self.say(200, measured())
        elif self.path == "/topics/next":
            self.say(*discuss())
        elif self.path == "/sessions":
            self.say(200, {name: state["current_phase"] for name, (_, state) in sessions().items()})
        else:
            self.say(404, {"error": "no such page"})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = self.path.removeprefix("/sessions/").removesuffix("/finish")
        found = sessions().get(name)
        if found is None or "finish" not in vars(nodes):
            return self.say(404, {"error": "no such session, or it cannot be finished here"})
        return self.say(200, nodes.finish(DATA, *found))

    def say(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    # Who was let in is answered before the service ends.
    daemon_threads = False


def main():
    form = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(filename=LOG, level=logging.INFO, format=form)
    # A version does not start on what another one left.
    agent_factory.make(settings.load(CONFIG))
    checkpoint()
    found = sessions()
    server = Server(("127.0.0.1", PORT), Desk)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    log.info("version %s serves %d sessions", VERSION, len(found))
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    try:
        main()
    except ValueError as cause:
        sys.exit(f"virtual-agora {VERSION} does not start: {cause}")
