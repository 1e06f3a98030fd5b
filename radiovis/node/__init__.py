"""Builds and runs a front-end, several workers, or the fallback daemon."""
