"""STOMP 1.0 to 1.2: octets in, events out. No sockets and no clock."""
