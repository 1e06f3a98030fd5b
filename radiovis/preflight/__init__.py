"""Preflight: what radios may not like about a slide or a text, found out when it is published."""
