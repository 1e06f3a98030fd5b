"""Python's stomper 0.4.3, with which demo publishers of broadcasters were written: ``stomper.stomp_10`` and
``stomper`` (stomp_11). Its 1.0 writes a blank behind the colon of a destination in SUBSCRIBE and SEND, but not in
UNSUBSCRIBE; its 1.1 leaves out the blank line of DISCONNECT.
"""

from __future__ import annotations

from tests.clients.transcript import Ends, Hears, Reaches, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="stomper 0.4.3",
        version="1.0",
        source="stomper.stomp_10, from PyPI",
        does="subscribes, publishes, unsubscribes",
        steps=(
            Says(b"CONNECT\nlogin:1.test\npasscode:test\n\n\0\n"),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(b"SUBSCRIBE\ndestination: /topic/id/vis.example.org/ffff/text\nack: auto\n\n\0\n"),
            Says(b"SEND\ndestination: /topic/id/vis.example.org/ffff/text\n\nTEXT Now on air\0\n"),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/text\nmessage-id:<message-id>\nwhen:<when>\n\n"
                b"TEXT Now on air\0"
            ),
            Says(b"UNSUBSCRIBE\ndestination:/topic/id/vis.example.org/ffff/text\n\n\0\n"),
            Says(b"SEND\ndestination: /topic/id/vis.example.org/ffff/image\n\nSHOW http://slides.example/1.png\0\n"),
            Reaches(
                b"/topic/id/vis.example.org/ffff/image",
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/image\nmessage-id:<message-id>\nwhen:<when>\n\n"
                b"SHOW http://slides.example/1.png\0",
            ),
            Says(b"DISCONNECT\n\n\0\n"),
            Ends(),
        ),
    ),
    Transcript(
        client="stomper 0.4.3",
        version="1.1",
        source="stomper, from PyPI",
        does="subscribes, publishes, unsubscribes",
        steps=(
            Says(
                b"CONNECT\naccept-version:1.1\nhost:vis.example.org\nheart-beat:0,0\nlogin:1.test\npasscode:test\n\n\0\n"
            ),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.1\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"),
            Says(b"SUBSCRIBE\nid:7\ndestination:/topic/id/vis.example.org/ffff/text\nack:auto\n\n\0\n"),
            Says(
                b"SEND\ndestination:/topic/id/vis.example.org/ffff/text\ncontent-type:text/plain\n\nTEXT Now on air\0\n"
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/text\ncontent-type:text/plain\n"
                b"message-id:<message-id>\nwhen:<when>\ncontent-length:15\nsubscription:7\n\nTEXT Now on air\0\n"
            ),
            Says(b"UNSUBSCRIBE\nid:7\n\n\0\n"),
            Says(b"DISCONNECT\nreceipt:bye\n\0\n"),
            Hears(b"RECEIPT\nreceipt-id:bye\n\n\0\n"),
            Ends(),
        ),
    ),
)
