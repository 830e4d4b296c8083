"""What a host of version 1.1 has stored after some days: a checkpoint, two sessions, a report."""

import pickle
import sys
from pathlib import Path

data = Path(sys.argv[1])
for folder in ("checkpoints", "sessions", "reports", "logs"):
    (data / folder).mkdir(parents=True, exist_ok=True)


def put(path, value):
    path.write_bytes(pickle.dumps(value))


moderator = {"mode": "facilitation", "summaries": ["the agenda was agreed"], "reports": {}}
put(data / "checkpoints" / "current.pkl", {
    "session_id": "s-0",
    "main_topic": "the commons",
    "current_phase": 2,
    "messages": ["What is held in common?"],
    "agents": ["Aspasia", "Gorgias"],
    "moderator_id": "moderator-1",
    "moderator_state": moderator,
})
for number in (1, 2):
    put(data / "sessions" / f"s-{number}.pkl", {
        "session_id": f"s-{number}",
        "owner": f"owner-{number}@agora.example",
        "main_topic": f"question {number}",
        "current_phase": number,
        "messages": [f"opening of {number}"],
        "hitl_state": {"approval_type": "topic"},
        "moderator_state": moderator,
    })
(data / "reports" / "final_report.md").write_text("# last week\n\nIt was agreed to meet again.\n")
