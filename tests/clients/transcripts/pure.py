"""Pure Sensia, a radio. Its program is not published: this is what broke for it and what cured it (contract §5,
lesson 1; ebu/radiodns-manager, issue 31): it sends LF between its frames, and shows no slide if a frame comes in
pieces.
"""

from __future__ import annotations

from tests.clients.transcript import Hears, Published, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="Pure Sensia",
        version="1.0",
        source="behaviour in ebu/radiodns-manager, issue 31",
        does="listens to image and text, LF between its frames",
        steps=(
            Says(b"CONNECT\nlogin:\npasscode:\n\n\0\n"),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(
                b"\nSUBSCRIBE\ndestination: /topic/fm/4e1/ffff/09580/text\n\n\0\n"
                b"\nSUBSCRIBE\ndestination: /topic/fm/4e1/ffff/09580/image\nreceipt:1\n\n\0\n"
            ),
            Hears(b"RECEIPT\nreceipt-id:1\n\n\0"),
            Published(b"/topic/fm/4e1/ffff/09580/text", b"TEXT Now on air", {"message-id": "1"}),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/09580/text\nmessage-id:1\nwhen:<when>\n\nTEXT Now on air\0"
            ),
            Published(
                b"/topic/fm/4e1/ffff/09580/image",
                b"SHOW http://slides.example/1.png",
                {"trigger-time": "NOW", "link": "http://l/", "message-id": "2"},
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/09580/image\ntrigger-time:NOW\nlink:http://l/\nmessage-id:2\n"
                b"when:<when>\n\nSHOW http://slides.example/1.png\0"
            ),
        ),
    ),
)
