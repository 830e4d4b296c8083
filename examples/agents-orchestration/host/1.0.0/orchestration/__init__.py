"""Lets agents work together."""

VERSION = "1.0.0"
