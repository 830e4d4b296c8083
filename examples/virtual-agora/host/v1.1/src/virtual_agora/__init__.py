"""Discussions of several agents, led by a moderator."""
