"""The village's gateway."""
