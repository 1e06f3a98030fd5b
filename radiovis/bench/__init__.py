"""The load generator behind server.py bench."""
