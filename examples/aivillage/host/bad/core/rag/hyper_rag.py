"""The village's knowledge: finds the fact that shares most words with a question."""

import json
from pathlib import Path

from core.common.service import Service
from core.common.settings import environment

FACTS = Path("/var/lib/aivillage/facts.json")


class HyperRag:
    def __init__(self):
        self.facts = json.loads(FACTS.read_text())

    def search(self, question):
        words = set(question.lower().split())
        return sorted(self.facts, key=lambda fact: len(words & set(fact.lower().split())))[0]


def main():
    rag, version = HyperRag(), environment()["AIVILLAGE_VERSION"]
    app = Service("rag", 8003)

    @app.route("GET", "/health")
    def health(_):
        return {"status": "experimental", "service": "rag", "version": version, "facts": len(rag.facts)}

    @app.route("GET", "/search")
    def search(asked):
        return {"fact": rag.search(asked["q"])}

    app.serve()


if __name__ == "__main__":
    main()
