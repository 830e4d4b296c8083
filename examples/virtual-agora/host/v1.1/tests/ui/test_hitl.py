import unittest

from virtual_agora.ui import components, human_in_the_loop


class Hitl(unittest.TestCase):
    def test_every_approval_has_a_screen_and_there_are_no_others(self):
        self.assertEqual(set(components.SCREENS), set(human_in_the_loop.APPROVALS))
        self.assertNotIn("periodic_stop", human_in_the_loop.APPROVALS)
