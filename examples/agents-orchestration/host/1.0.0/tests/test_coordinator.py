import unittest


class CoordinatorTest(unittest.TestCase):
    def test_a_workflow_passes_both_agents(self):
        from orchestration.coordinator import AgentCoordinator

        settings = {"agents": [{"name": "planner", "model": "small-1"}, {"name": "writer", "model": "large-2"}]}
        coordinator = AgentCoordinator(settings)
        coordinator.topics = ["sail to Crete"]
        self.assertEqual(coordinator.work(0), (3, "Sail to crete."))
