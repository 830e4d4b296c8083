import unittest

from agents import planner


class PlannerTest(unittest.TestCase):
    def test_each_word_is_a_step(self):
        self.assertEqual(planner.plan("Plan: clean the house"), ["1. clean", "2. the", "3. house"])
