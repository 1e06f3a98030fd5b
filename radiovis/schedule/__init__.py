"""Slides and texts that are published now and shown later: held until the instant their trigger-time names."""
