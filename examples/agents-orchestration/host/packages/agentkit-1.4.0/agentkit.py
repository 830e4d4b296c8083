"""What all agents have in common."""

import promptbook


class Agent:
    def __init__(self, name, model):
        self.name = name
        self.model = model

    def ask(self, work, what):
        return work(f"{promptbook.opening(self.name)} {what}")
