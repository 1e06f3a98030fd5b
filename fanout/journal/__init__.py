"""Data on the disk in SQLite: the journal of messages, and what any SQLite file of a part needs."""
