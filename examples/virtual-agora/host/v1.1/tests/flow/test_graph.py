import unittest

from virtual_agora.agents import agent_factory
from virtual_agora.flow import edges, graph, nodes


class Graph(unittest.TestCase):
    def test_every_node_has_its_work_and_its_way_on(self):
        self.assertEqual(set(graph.NODES), set(nodes.WORK))
        self.assertEqual(set(graph.NODES), set(edges.NEXT))

    def test_a_round_ends_with_a_summary(self):
        team = agent_factory.make({"moderator": {"model": "m"}, "agents": [{"name": "a", "model": "m"}]})
        self.assertIn("1 spoke", graph.run(1, {"main_topic": "rain"}, team))
