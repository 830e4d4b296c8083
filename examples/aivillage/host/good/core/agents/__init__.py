"""The village's agents."""
