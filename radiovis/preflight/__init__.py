"""Checks published slides and texts for what receivers cannot show."""
