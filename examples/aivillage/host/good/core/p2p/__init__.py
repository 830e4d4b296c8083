"""The village's p2p."""
