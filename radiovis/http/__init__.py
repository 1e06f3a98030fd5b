"""The public site: polls, event streams, publishing, pages, players."""
