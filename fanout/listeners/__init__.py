"""Ports, TLS, the PROXY protocol, connection and subscription limits."""
