"""The round: agenda, discussion, summary by a specialist, report, a stop for people."""

from virtual_agora.flow import edges, nodes

NODES = ("agenda", "discussion", "summary", "topic_report", "periodic_stop")
MODES = {"facilitation"}


def run(number, state, team):
    node, said = "agenda", []
    while node:
        said = nodes.WORK[node]({**state, "number": number}, team, said)
        node = edges.NEXT[node]
    return said
