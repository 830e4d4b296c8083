"""What comes after what."""

NEXT = {
    "agenda": "discussion",
    "discussion": "summary",
    "summary": "topic_report",
    "topic_report": "periodic_stop",
    "periodic_stop": None,
}
