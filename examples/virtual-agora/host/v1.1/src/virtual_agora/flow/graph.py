"""The round: agenda, discussion, summary, by one moderator in three modes."""

from virtual_agora.flow import edges, nodes

NODES = ("agenda", "discussion", "summary")
MODES = {"facilitation", "synthesis", "reporting"}


def run(number, state, team):
    node, said = "agenda", []
    while node:
        said = nodes.WORK[node](state, team, said)
        node = edges.NEXT[node]
    return said
