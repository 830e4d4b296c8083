"""Agents out of the configuration, specialists among them."""

from virtual_agora.agents.discussant import Discussant
from virtual_agora.agents.ecclesia_report_agent import EcclesiaReportAgent
from virtual_agora.agents.moderator import ModeratorAgent
from virtual_agora.agents.summarizer import Summarizer
from virtual_agora.agents.topic_report_agent import TopicReportAgent

CONFIG_KEYS = {"moderator", "agents", "summarizer", "topic_report", "ecclesia_report", "hitl"}


def make(config):
    if set(config) != CONFIG_KEYS:
        raise ValueError(f"the configuration is none of 1.3: {sorted(set(config) ^ CONFIG_KEYS)}")
    return {
        "moderator": ModeratorAgent(config["moderator"]["model"]),
        "agents": [Discussant(agent["name"], agent["model"]) for agent in config["agents"]],
        "summarizer": Summarizer(config["summarizer"]["model"]),
        "topic_report": TopicReportAgent(),
        "ecclesia_report": EcclesiaReportAgent(),
    }
