"""Fetches a slide as a receiver does, and measures it."""
