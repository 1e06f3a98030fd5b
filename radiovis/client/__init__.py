"""A STOMP client over TCP, TLS and WebSocket, and arguments of commands.

``command_line.py`` and ``server_address.py`` read the command line. ``conversation.py`` is the STOMP client of commands
that run a reactor. ``sockets.py`` opens blocking connections for checks that choose their octets themselves. Both carry
STOMP in a WebSocket by ``websocket.py``. ``tests/radio.py`` is a separate client on purpose: a mistake made here must
not hide a mistake of the server.
"""
