"""Sentences that agents begin with."""

OPENINGS = {"planner": "List the steps of:", "writer": "Write about:"}


def opening(agent):
    return OPENINGS[agent]
