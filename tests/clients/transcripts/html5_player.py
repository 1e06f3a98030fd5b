"""The gateway of the EBU's HTML5 player, which has one STOMP connection for each browser: websocketserver/server.py
of github.com/ebu/radiovis-html5player at 005cf0b.
"""

from __future__ import annotations

from tests.clients.transcript import Hears, Published, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="EBU HTML5 player's gateway",
        version="1.0",
        source="github.com/ebu/radiovis-html5player, websocketserver/server.py at 005cf0b",
        does="listens to image and text",
        steps=(
            Says(b"CONNECT\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(b"SUBSCRIBE\ndestination:/topic/fm/4e1/ffff/09580/image\n\n\0"),
            Says(b"SUBSCRIBE\ndestination:/topic/fm/4e1/ffff/09580/text\n\n\0"),
            Published(
                b"/topic/fm/4e1/ffff/09580/image",
                b"SHOW http://slides.example/1.png",
                {"link": "http://l/", "message-id": "1"},
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/09580/image\nlink:http://l/\nmessage-id:1\nwhen:<when>\n\n"
                b"SHOW http://slides.example/1.png\0"
            ),
        ),
    ),
)
