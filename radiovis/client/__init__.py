"""A STOMP client over TCP, TLS and WebSocket, and arguments of commands."""
