"""Doors turn a client's octets into calls of the hub, and messages into octets."""
