import unittest

from agents import writer


class WriterTest(unittest.TestCase):
    def test_a_text_ends_with_a_full_stop(self):
        self.assertEqual(writer.write("Write: rain"), "Rain.")
