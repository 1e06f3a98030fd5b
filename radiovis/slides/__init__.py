"""Slides as receivers get them: fetched over HTTP, and looked at."""
