"""The moderator: leads, sums up and reports, each in a mode of its own."""

import os
import time


class ModeratorAgent:
    modes = ("facilitation", "synthesis", "reporting")

    def __init__(self, model):
        self.model, self.mode = model, "facilitation"
        # Older models want a pause between two calls.
        self.pause = float(os.environ.get("AGORA_MODEL_PAUSE", "0.01"))

    def switch(self, mode):
        if mode not in self.modes:
            raise ValueError(f"a moderator has no mode {mode}")
        self.mode = mode
        return self

    def summarize(self, said):
        time.sleep(self.pause)
        return f"{len(said)} spoke: " + "; ".join(said)
