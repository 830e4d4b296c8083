import unittest

from virtual_agora.agents.moderator import ModeratorAgent


class Moderator(unittest.TestCase):
    def test_one_moderator_leads_sums_up_and_reports(self):
        moderator = ModeratorAgent("m")
        for mode in ("synthesis", "reporting", "facilitation"):
            self.assertEqual(moderator.switch(mode).mode, mode)
        with self.assertRaises(ValueError):
            moderator.switch("ecclesia")

    def test_a_summary_says_who_spoke(self):
        self.assertIn("2 spoke", ModeratorAgent("m").summarize(["a", "b"]))
