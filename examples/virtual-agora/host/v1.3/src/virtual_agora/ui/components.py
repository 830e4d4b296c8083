"""How a person is asked."""

SCREENS = {
    "topic": "Shall we discuss {topic}?",
    "continuation": "Shall we go on?",
    "report": "Is this what was said?",
    "periodic_stop": "Five rounds are over. Stop here?",
    "topic_override": "Which topic instead?",
    "agent_poll_override": "The agents want to end. Do you?",
}
