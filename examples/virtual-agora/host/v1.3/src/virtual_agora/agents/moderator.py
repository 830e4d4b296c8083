"""The moderator only leads; others sum up and report."""


class ModeratorAgent:
    modes = ("facilitation",)

    def __init__(self, model):
        self.model = model
