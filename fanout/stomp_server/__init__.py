"""STOMP connections over TCP and WebSocket."""
