"""Sentences that agents begin with."""

OPENINGS = {"planner": "Plan as a tree:", "writer": "Write about:"}


def opening(agent):
    return OPENINGS[agent]
