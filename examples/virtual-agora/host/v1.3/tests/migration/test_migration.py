import unittest

from virtual_agora.flow import nodes


class Migration(unittest.TestCase):
    def test_the_state_has_room_for_specialists(self):
        self.assertIn("specialized_agents", nodes.STATE_KEYS)
