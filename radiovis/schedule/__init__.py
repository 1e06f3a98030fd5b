"""Holds slides until their trigger-time."""
