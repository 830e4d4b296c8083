"""How a person is asked."""

SCREENS = {
    "topic": "Shall we discuss {topic}?",
    "continuation": "Shall we go on?",
    "report": "Is this what was said?",
}
