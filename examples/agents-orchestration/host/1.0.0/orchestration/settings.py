"""The configuration, judged before anything runs by it.

python -m orchestration.settings FILE says what is wrong with one.
"""

import json
import sys

AGENTS = ("planner", "writer")
MODELS = ("small-1", "large-2")


def problems(settings):
    found = []
    agents = settings.get("agents", [])
    for name in AGENTS:
        if not any(agent.get("name") == name for agent in agents):
            found.append(f"no agent `{name}`")
    for agent in agents:
        if agent.get("model") not in MODELS:
            found.append(f"agent `{agent.get('name')}` has no known model: {agent.get('model')}")
    if not isinstance(settings.get("port"), int):
        found.append("`port` is no number")
    return found


def load(path="config/agents.json"):
    with open(path, encoding="utf-8") as file:
        settings = json.load(file)
    found = problems(settings)
    if found:
        raise ValueError(f"{path}: {'; '.join(found)}")
    return settings


if __name__ == "__main__":
    try:
        print(f"sound, {len(load(sys.argv[1])['agents'])} agents")
    except (OSError, ValueError) as problem:
        sys.exit(f"{sys.argv[1]}: {problem}")
