import unittest

from virtual_agora.agents.moderator import ModeratorAgent


class Moderator(unittest.TestCase):
    def test_a_moderator_only_leads(self):
        self.assertEqual(ModeratorAgent("m").modes, ("facilitation",))
