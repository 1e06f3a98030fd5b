"""Who may log in, which topics a station owns, and what a silent topic shows."""
