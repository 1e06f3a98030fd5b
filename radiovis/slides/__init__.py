"""Slides as receivers get them: fetched over HTTP, and checked for format and size."""
