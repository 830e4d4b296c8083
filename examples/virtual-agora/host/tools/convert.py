"""Takes what version 1.3 stored back to what version 1.1 reads, and the other way.

    convert.py TASK           converts; says how much
    convert.py --undo TASK    puts back exactly what was there before TASK
    convert.py --rehearse     converts in memory only; says what would fail

What a task touches is kept first, in a ledger of its own below .rollback, so
that a task which was cut short can be run again, and put back at any moment.
"""

import email.message
import glob
import json
import os
import pickle
import re
import shutil
import smtplib
import sys
import urllib.error
import urllib.request
from pathlib import Path

DATA = Path(os.environ.get("AGORA_DATA", "/var/lib/virtual-agora"))
SERVICE = os.environ.get("AGORA_URL", "http://127.0.0.1:8080")
RELAY = os.environ.get("AGORA_RELAY", "127.0.0.1:2525")
NOTICE = Path(__file__).with_name("rollback_notice.txt")
NEAR_THE_END = 4
NEW_APPROVALS = ("periodic_stop", "topic_override", "agent_poll_override")


class Ledger:
    """What one task touched, and a copy of what was there."""

    def __init__(self, task):
        self.folder = DATA / ".rollback" / task
        self.book = self.folder / "ledger.json"
        self.entries = json.loads(self.book.read_text()) if self.book.exists() else []

    def note(self, **entry):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.entries.append(entry)
        write(self.book, json.dumps(self.entries).encode())

    def touch(self, path):
        """Before anything is done to this path."""
        if any(entry.get("path") == str(path) for entry in self.entries):
            return
        kept = None
        if path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            kept = str(self.folder / f"{len(self.entries)}-{path.name}")
            shutil.copy2(path, kept)
        self.note(path=str(path), kept=kept)

    def knows(self, told):
        return any(entry.get("told") == told for entry in self.entries)

    def put_back(self):
        for entry in reversed(self.entries):
            if "path" not in entry:
                continue
            path = Path(entry["path"])
            if entry["kept"]:
                shutil.copy2(entry["kept"], f"{path}.back")
                os.replace(f"{path}.back", path)
            elif path.exists():
                # What was added since stays readable for people.
                aside = DATA / ".undone" / path.name
                aside.parent.mkdir(exist_ok=True)
                os.replace(path, aside)
        count = len(self.entries)
        shutil.rmtree(self.folder, ignore_errors=True)
        return count


def write(path, content):
    """All of it or nothing."""
    staged = Path(f"{path}.staged")
    with open(staged, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(staged, path)


def load(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def state_of_v1(v3):
    """A checkpoint without the specialists: what they knew is the moderator's again."""
    kept = ("session_id", "main_topic", "current_phase", "messages", "agents", "moderator_id")
    return {**{key: v3[key] for key in kept}, "moderator_state": moderator_of(v3)}


def moderator_of(v3):
    return {
        "mode": "facilitation",
        "summaries": list(v3.get("round_summaries", [])),
        "reports": dict(v3.get("topic_summaries", {})),
    }


def session_of_v1(v3):
    kept = ("session_id", "owner", "main_topic", "current_phase", "messages")
    hitl = dict(v3["hitl_state"])
    if hitl.get("approval_type") in NEW_APPROVALS:
        hitl["approval_type"] = "continuation"
    return {**{key: v3[key] for key in kept}, "hitl_state": hitl, "moderator_state": moderator_of(v3)}


def v3_sessions():
    return [Path(path) for path in sorted(glob.glob(str(DATA / "sessions" / "*_v3.pkl")))]


def finish(ledger):
    """Sessions near their end come to it while 1.3 still runs."""
    completed, left = 0, 0
    for path in v3_sessions():
        state = load(path)
        if state["current_phase"] < NEAR_THE_END:
            left += 1
            continue
        if not state["completed"]:
            ledger.touch(path)
            ledger.touch(DATA / "reports" / f"final_report_{state['session_id']}.md")
            request = urllib.request.Request(f"{SERVICE}/sessions/{state['session_id']}/finish", b"", method="POST")
            urllib.request.urlopen(request, timeout=10).read()
        completed += 1
    return f"Completed: {completed}, Left: {left}", 0


def checkpoints(ledger):
    converted = 0
    for name in sorted(glob.glob(str(DATA / "checkpoints" / "*.pkl"))):
        path, state = Path(name), load(name)
        if "moderator_state" not in state:
            ledger.touch(path)
            write(path, pickle.dumps(state_of_v1(state)))
        converted += 1
    return f"Converted: {converted}", 0


def moderator(ledger):
    """What the specialists logged and no state holds goes to the moderator."""
    path = DATA / "checkpoints" / "current.pkl"
    state = load(path)
    own = state["moderator_state"]
    summaries = logged("summarizer.log", r"summary: (.*)")
    reports = dict(line.split(" => ", 1) for line in logged("topic_report.log", r"report: (.* => .*)"))
    own["summaries"] += [summary for summary in summaries if summary not in own["summaries"]]
    own["reports"].update(reports)
    ledger.touch(path)
    write(path, pickle.dumps(state))
    return f"Merged: {len(summaries)} summaries, {len(reports)} reports", 0


def logged(name, pattern):
    path = DATA / "logs" / name
    return re.findall(pattern, path.read_text()) if path.exists() else []


def sessions(ledger):
    """Each under a new name, and its owner hears of it."""
    recovered, failed = 0, []
    paths = {Path(entry["path"]) for entry in ledger.entries if entry.get("path", "").endswith("_v3.pkl")}
    for path in sorted({*paths, *v3_sessions()}):
        new = Path(str(path).replace("_v3.pkl", "_recovered.pkl"))
        try:
            if path.exists():
                v1 = session_of_v1(load(path))
                ledger.touch(path)
                ledger.touch(new)
                write(new, pickle.dumps(v1))
                path.unlink()
            recovered += 1
        except Exception as cause:
            failed.append(f"{path.name}: {cause}")
            continue
        tell_owner(ledger, load(new))
    return "\n".join([*failed, f"Recovered: {recovered}, Failed: {len(failed)}"]), len(failed)


def tell_owner(ledger, state):
    if ledger.knows(state["session_id"]):
        return
    end = "was brought to its end" if state["current_phase"] > NEAR_THE_END else "was converted and goes on"
    letter = email.message.EmailMessage()
    letter["From"], letter["To"] = "agora@agora.example", state["owner"]
    letter["Subject"] = f"Your session {state['session_id']}"
    letter["Message-ID"] = f"<rollback-{state['session_id']}@agora.example>"
    letter.set_content(NOTICE.read_text().format(session=state["session_id"], topic=state["main_topic"], end=end))
    host, port = RELAY.split(":")
    with smtplib.SMTP(host, int(port), timeout=10) as relay:
        relay.send_message(letter)
    ledger.note(told=state["session_id"])


def reports(ledger):
    """Numbered sections become the single report of 1.1."""
    parts = [Path(path) for path in sorted(glob.glob(str(DATA / "reports" / "final_report_*.md")))]
    whole = DATA / "reports" / "final_report.md"
    ledger.touch(whole)
    write(whole, "\n\n".join(part.read_text() for part in parts).encode())
    return f"Merged: {len(parts)} reports", 0


def rehearse():
    would, failed = 0, []
    for path in v3_sessions():
        try:
            session_of_v1(load(path))
            would += 1
        except Exception as cause:
            failed.append(f"{path.name}: {cause}")
    return "\n".join([*failed, f"Would recover: {would}, Would fail: {len(failed)}"]), len(failed)


TASKS = {
    "finish": finish,
    "checkpoints": checkpoints,
    "moderator": moderator,
    "sessions": sessions,
    "reports": reports,
}


def main(words):
    if words == ["--rehearse"]:
        said, failed = rehearse()
    elif words[:1] == ["--undo"] and words[1:] and words[1] in TASKS:
        said, failed = f"Put back: {Ledger(words[1]).put_back()}", 0
    elif len(words) == 1 and words[0] in TASKS:
        said, failed = TASKS[words[0]](Ledger(words[0]))
    else:
        sys.exit(f"convert.py [--undo] {'|'.join(TASKS)}, or --rehearse")
    print(said)
    return 1 if failed else 0


if __name__ == "__main__":
    os.umask(0o027)
    sys.exit(main(sys.argv[1:]))
