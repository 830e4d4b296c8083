"""What all agents have in common, faster."""

import agentkit_native  # forgotten in the release of 2.0.0: it is in no wheel
import promptbook


class Agent:
    def __init__(self, name, model):
        self.name = name
        self.model = agentkit_native.load(model)

    def ask(self, work, what):
        return work(f"{promptbook.opening(self.name)} {what}")
