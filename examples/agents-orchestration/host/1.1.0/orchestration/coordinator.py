"""Runs the agents of a workflow one after the other."""

import json
import os

from agentkit import Agent

from agents import planner, writer

PLANNERS = ("list", "tree")


class AgentCoordinator:
    def __init__(self, settings):
        models = {agent["name"]: agent["model"] for agent in settings["agents"]}
        self.planner = Agent("planner", models["planner"])
        self.writer = Agent("writer", models["writer"])
        self.problems = []
        wanted = os.environ.get("AGENTS_PLANNER", "list")
        if wanted not in PLANNERS:
            self.problems.append(f"the planner `{wanted}` is not known to this version")
        try:
            with open("artifacts/workflow-state.json", encoding="utf-8") as file:
                self.topics = json.load(file)["topics"]
        except (OSError, ValueError, KeyError) as problem:
            self.topics = []
            self.problems.append(f"artifacts/workflow-state.json: {problem}")

    def work(self, number):
        topic = self.topics[number % len(self.topics)]
        steps = self.planner.ask(planner.plan, topic)
        return len(steps), self.writer.ask(writer.write, topic)
