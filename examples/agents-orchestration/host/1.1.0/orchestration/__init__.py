"""Lets agents work together."""

VERSION = "1.1.0"
