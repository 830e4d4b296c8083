"""What the migration to 1.3, and some days of work with it, make of the data of 1.1."""

import pickle
import sys
from pathlib import Path

data = Path(sys.argv[1])


def load(path):
    return pickle.loads(path.read_bytes())


def put(path, value):
    path.write_bytes(pickle.dumps(value))


def hitl(approval):
    return {"hitl_state": {"approval_type": approval}, "periodic_stop_counter": 3, "user_stop_history": ["r5"]}


path = data / "checkpoints" / "current.pkl"
state = load(path)
own = state.pop("moderator_state", None)
if own is not None:
    state["messages"].append("Who cares for it?")
    summaries = {"round_summaries": [*own["summaries"], "round 1: two spoke"], "topic_summaries": {"rain": "wet"}}
    put(path, {**state, **summaries, **hitl("periodic_stop"), "specialized_agents": ["summarizer", "topic_report"]})

for old in data.glob("sessions/s-?.pkl"):
    old.unlink()
approvals = ("topic", "periodic_stop", "topic_override", "agent_poll_override")
for number, (phase, approval) in enumerate(zip((1, 2, 4, 5), approvals), start=1):
    put(data / "sessions" / f"s-{number}_v3.pkl", {
        "session_id": f"s-{number}",
        "owner": f"owner-{number}@agora.example",
        "main_topic": f"question {number}",
        "current_phase": phase,
        "messages": [f"opening of {number}", f"answer to {number}"],
        "round_summaries": [f"summary of {number}"],
        "topic_summaries": {f"question {number}": "open"},
        **hitl(approval),
        "completed": False,
    })
(data / "reports" / "final_report.md").unlink(missing_ok=True)
for number in (1, 2):
    (data / "reports" / f"final_report_{number}.md").write_text(f"# Section {number}\n\nWhat was said first.\n")
(data / "logs" / "summarizer.log").write_text(
    "2026-11-20T10:00:00Z summary: round 1: two spoke\n2026-11-20T10:05:00Z summary: round 2: one objected\n"
)
(data / "logs" / "topic_report.log").write_text("2026-11-20T10:06:00Z report: the commons => still open\n")
