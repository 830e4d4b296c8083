"""Whether the data of a host that came back from 1.3 is what 1.1 should find; says why not."""

import pickle
import sys
from pathlib import Path

data = Path(sys.argv[1])
wrong = []


def same(what, found, wanted):
    if found != wanted:
        wrong.append(f"{what} is {found!r}, and should be {wanted!r}")


def load(path):
    return pickle.loads(path.read_bytes())


state = load(data / "checkpoints" / "current.pkl")
own = state["moderator_state"]
same("the checkpoint's keys", sorted(state), sorted(
    ["session_id", "main_topic", "current_phase", "messages", "agents", "moderator_id", "moderator_state"]))
same("what was said", state["messages"][-1], "Who cares for it?")
same("the moderator's mode", own["mode"], "facilitation")
same("the summaries", own["summaries"], ["the agenda was agreed", "round 1: two spoke", "round 2: one objected"])
same("the reports", own["reports"], {"rain": "wet", "the commons": "still open"})

names = sorted(path.name for path in (data / "sessions").iterdir())
same("the sessions", names, [f"s-{number}_recovered.pkl" for number in (1, 2, 3, 4)])
for number, phase in ((1, 1), (2, 2), (3, 6), (4, 6)):
    path = data / "sessions" / f"s-{number}_recovered.pkl"
    if not path.exists():
        continue
    session = load(path)
    same(f"the phase of s-{number}", session["current_phase"], phase)
    same(f"what was said in s-{number}", session["messages"], [f"opening of {number}", f"answer to {number}"])
    approval = session["hitl_state"]["approval_type"]
    same(f"the approval of s-{number}", approval, "topic" if number == 1 else "continuation")
    same(f"counters of 1.3 in s-{number}", "periodic_stop_counter" in session, False)

report = (data / "reports" / "final_report.md").read_text()
for part in ("# Section 1", "# Section 2", "# question 3", "# question 4"):
    same(f"`{part}` in the report", part in report, True)

sys.exit("\n".join(wrong) or 0)
