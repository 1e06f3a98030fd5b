"""Stations: logins, topics, defaults; from PlugIt or from a TOML file."""
