"""An agent with an opinion."""


class Discussant:
    def __init__(self, name, model):
        self.name, self.model = name, model

    def speak(self, topic):
        return f"{self.name} ({self.model}) on {topic}"
