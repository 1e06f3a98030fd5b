"""CasterPlay, a monitor of broadcasters. Its program is not published: this is what the original had to learn for it
(contract §5, lesson 2): CRLF, headers without a colon, blanks around the command.
"""

from __future__ import annotations

from tests.clients.transcript import Hears, Published, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="CasterPlay",
        version="1.0",
        source="behaviour that the original was changed for",
        does="listens: CRLF, headers without colon, blanks around commands",
        steps=(
            Says(b"  CONNECT  \r\nlogin\r\npasscode\r\n\r\n\0\r\n"),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(b" SUBSCRIBE \r\ndestination: /topic/fm/ch/ffff/09580/image \r\nack\r\n\r\n\0\r\n"),
            Published(b"/topic/fm/4e1/ffff/09580/image", b"SHOW http://slides.example/1.png", {"message-id": "1"}),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/ch/ffff/09580/image\nmessage-id:1\nwhen:<when>\n\n"
                b"SHOW http://slides.example/1.png\0"
            ),
            Says(b" UNSUBSCRIBE \r\ndestination: /topic/fm/ch/ffff/09580/image \r\n\r\n\0\r\n"),
        ),
    ),
)
