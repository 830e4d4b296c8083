"""What each part of a round does, and the state it does it to."""

STATE_KEYS = {"session_id", "main_topic", "current_phase", "messages", "agents", "moderator_id", "moderator_state"}
SESSION_KEYS = {"session_id", "owner", "main_topic", "current_phase", "messages", "hitl_state", "moderator_state"}
SESSION_FILES = "*.pkl"


def agenda(state, team, _):
    team["moderator"].switch("facilitation")
    return [state["main_topic"]]


def discussion(state, team, said):
    return [agent.speak(said[0]) for agent in team["agents"]]


def summary(state, team, said):
    return team["moderator"].switch("synthesis").summarize(said)


WORK = {"agenda": agenda, "discussion": discussion, "summary": summary}
