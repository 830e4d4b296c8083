"""Settings of the village: config/.env and config/database_config.json."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment():
    """The lines KEY=VALUE of config/.env."""
    lines = (ROOT / "config" / ".env").read_text().splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def database():
    return json.loads((ROOT / "config" / "database_config.json").read_text())
