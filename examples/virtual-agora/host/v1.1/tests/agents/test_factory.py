import unittest

from virtual_agora.agents import agent_factory


class Factory(unittest.TestCase):
    def test_only_the_keys_of_this_version_are_taken(self):
        config = {"moderator": {"model": "m"}, "agents": [{"name": "a", "model": "m"}]}
        self.assertEqual(len(agent_factory.make(config)["agents"]), 1)
        with self.assertRaises(ValueError):
            agent_factory.make({**config, "summarizer": {"model": "m"}})
