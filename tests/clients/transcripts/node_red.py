"""npm stomp-client 0.9.0, which the STOMP nodes of Node-RED use, written from a recording."""

from __future__ import annotations

from tests.clients.transcript import Ends, Hears, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="stomp-client 0.9.0 (Node-RED)",
        version="1.0",
        source="npm stomp-client 0.9.0, recorded",
        does="publishes, hears it, leaves",
        steps=(
            Says(b"CONNECT\nlogin:1.test\npasscode:test\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(b"SUBSCRIBE\ndestination:/topic/id/vis.example.org/ffff/image\n\n\0"),
            Says(
                b"SEND\ndestination:/topic/id/vis.example.org/ffff/image\ncontent-length:32\n\n"
                b"SHOW http://slides.example/1.png\0"
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/image\nmessage-id:<message-id>\nwhen:<when>\n\n"
                b"SHOW http://slides.example/1.png\0"
            ),
            Says(b"UNSUBSCRIBE\ndestination:/topic/id/vis.example.org/ffff/image\n\n\0"),
            Says(b"DISCONNECT\n\n\0"),
            Ends(),
        ),
    ),
)
