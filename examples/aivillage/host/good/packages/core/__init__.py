"""Parts that are not services."""
