"""Topics, their last messages and their subscribers. No sockets and no clock."""
