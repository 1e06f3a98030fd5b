"""The watchdog: looks after silent topics, and keeps the log of what was published."""
