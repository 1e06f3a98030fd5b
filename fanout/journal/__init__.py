"""Messages kept in SQLite, written in batches by a thread."""
