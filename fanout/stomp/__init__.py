"""STOMP 1.0, 1.1 and 1.2 without any networking: bytes in, events out; answers in, bytes out."""
