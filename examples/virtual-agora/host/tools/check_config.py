"""Whether a configuration is one of version 1.1: exit code 0, or why not."""

import sys

sys.path.insert(0, "/opt/virtual-agora/src")
from virtual_agora import settings

config = settings.load(sys.argv[1])
if set(config) != {"moderator", "agents"}:
    sys.exit(f"1.1 knows moderator and agents, and not {sorted(set(config) ^ {'moderator', 'agents'})}")
if not config["moderator"].get("model"):
    sys.exit("the moderator has no model")
if not config["agents"] or any(not {"name", "model"} <= set(agent) for agent in config["agents"]):
    sys.exit("every agent needs a name and a model")
