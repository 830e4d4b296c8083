import unittest

from virtual_agora.agents.summarizer import Summarizer


class Sums(unittest.TestCase):
    def test_a_summary_says_who_spoke(self):
        self.assertIn("1 spoke", Summarizer("m").summarize(1, ["a"]))
