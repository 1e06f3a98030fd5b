"""Preflight: checks at publish time whether radios can show a slide or a text."""
