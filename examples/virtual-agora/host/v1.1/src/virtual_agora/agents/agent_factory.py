"""Agents out of the configuration."""

from virtual_agora.agents.discussant import Discussant
from virtual_agora.agents.moderator import ModeratorAgent

CONFIG_KEYS = {"moderator", "agents"}


def make(config):
    if set(config) != CONFIG_KEYS:
        raise ValueError(f"the configuration is none of 1.1: {sorted(set(config) ^ CONFIG_KEYS)}")
    return {
        "moderator": ModeratorAgent(config["moderator"]["model"]),
        "agents": [Discussant(agent["name"], agent["model"]) for agent in config["agents"]],
    }
