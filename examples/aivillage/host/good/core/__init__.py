"""The village."""
