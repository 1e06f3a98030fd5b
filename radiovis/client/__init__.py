"""A STOMP client over TCP, TLS and WebSocket, and arguments of commands.

``command_line.py`` and ``server_address.py`` read the command line. ``conversation.py`` is the STOMP client of commands
that run a reactor. ``sockets.py`` opens blocking connections for checks that choose their octets themselves. Both use
``websocket.py`` for STOMP in a WebSocket. ``tests/radio.py`` is a separate client on purpose: a mistake in this client
must not hide a mistake of the server.
"""
