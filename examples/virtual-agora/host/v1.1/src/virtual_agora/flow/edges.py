"""What comes after what."""

NEXT = {"agenda": "discussion", "discussion": "summary", "summary": None}
