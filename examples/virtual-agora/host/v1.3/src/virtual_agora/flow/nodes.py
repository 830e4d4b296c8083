"""What each part of a round does, and the state it does it to."""

import os
import pickle

COMMON_KEYS = {"session_id", "main_topic", "current_phase", "messages", "round_summaries", "topic_summaries"}
HITL_KEYS = {"hitl_state", "periodic_stop_counter", "user_stop_history"}
STATE_KEYS = COMMON_KEYS | HITL_KEYS | {"agents", "moderator_id", "specialized_agents"}
SESSION_KEYS = COMMON_KEYS | HITL_KEYS | {"owner", "completed"}
SESSION_FILES = "*_v3.pkl"


def agenda(state, team, _):
    return [state["main_topic"]]


def discussion(state, team, said):
    return [agent.speak(said[0]) for agent in team["agents"]]


def summary(state, team, said):
    return team["summarizer"].summarize(state["number"], said)


def topic_report(state, team, said):
    return team["topic_report"].report(state["main_topic"], [said])


def periodic_stop(state, team, said):
    return said


WORK = {
    "agenda": agenda,
    "discussion": discussion,
    "summary": summary,
    "topic_report": topic_report,
    "periodic_stop": periodic_stop,
}


def finish(data, path, state):
    """Brings a session to its end, with its report."""
    report = data / "reports" / f"final_report_{state['session_id']}.md"
    report.write_text(f"# {state['main_topic']}\n\n" + "\n".join(state["round_summaries"]) + "\n")
    staged = path.with_suffix(".new")
    with open(staged, "wb") as file:
        pickle.dump({**state, "current_phase": 6, "completed": True}, file)
    os.replace(staged, path)
    return {"session": state["session_id"], "report": report.name}
