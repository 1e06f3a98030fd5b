"""The HTTP server: routes, long polls, event streams, WebSockets."""
