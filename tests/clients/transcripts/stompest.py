"""stompest 2.3.0, the strictest reader of the specification among the clients, written from a recording."""

from __future__ import annotations

from tests.clients.transcript import Ends, Hears, Published, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="stompest 2.3.0",
        version="1.0",
        source="stompest 2.3.0, sync client, from PyPI, recorded",
        does="listens with receipts, leaves",
        steps=(
            Says(b"CONNECT\nlogin:1.test\npasscode:test\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(b"SUBSCRIBE\nack:auto\ndestination:/topic/id/vis.example.org/ffff/text\nid:7\nreceipt:s\n\n\0"),
            Hears(b"RECEIPT\nreceipt-id:s\n\n\0"),
            Published(b"/topic/id/vis.example.org/ffff/text", b"TEXT Now on air", {"message-id": "1"}),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/text\nmessage-id:1\nwhen:<when>\n"
                b"subscription:7\n\nTEXT Now on air\0"
            ),
            Says(b"DISCONNECT\nreceipt:bye\n\n\0"),
            Hears(b"RECEIPT\nreceipt-id:bye\n\n\0"),
            Ends(),
        ),
    ),
    Transcript(
        client="stompest 2.3.0",
        version="1.1",
        source="stompest 2.3.0, sync client, from PyPI, recorded",
        does="listens with receipts, leaves",
        steps=(
            Says(
                b"CONNECT\naccept-version:1.1\nheart-beat:0,0\nhost:vis.example.org\nlogin:1.test\npasscode:test\n\n\0"
            ),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.1\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"),
            Says(b"SUBSCRIBE\nack:auto\ndestination:/topic/id/vis.example.org/ffff/text\nid:7\nreceipt:s\n\n\0"),
            Hears(b"RECEIPT\nreceipt-id:s\n\n\0\n"),
            Published(b"/topic/id/vis.example.org/ffff/text", b"TEXT Now on air", {"message-id": "1"}),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/text\nmessage-id:1\nwhen:<when>\ncontent-length:15\n"
                b"subscription:7\n\nTEXT Now on air\0\n"
            ),
            Says(b"DISCONNECT\nreceipt:bye\n\n\0"),
            Hears(b"RECEIPT\nreceipt-id:bye\n\n\0\n"),
            Ends(),
        ),
    ),
    Transcript(
        client="stompest 2.3.0",
        version="1.2",
        source="stompest 2.3.0, sync client, from PyPI, recorded",
        does="listens with receipts, leaves",
        steps=(
            Says(
                b"CONNECT\naccept-version:1.2\nheart-beat:0,0\nhost:vis.example.org\nlogin:1.test\npasscode:test\n\n\0"
            ),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.2\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"),
            Says(b"SUBSCRIBE\nack:auto\ndestination:/topic/id/vis.example.org/ffff/text\nid:7\nreceipt:s\n\n\0"),
            Hears(b"RECEIPT\nreceipt-id:s\n\n\0\n"),
            Published(b"/topic/id/vis.example.org/ffff/text", b"TEXT Now on air", {"message-id": "1"}),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/text\nmessage-id:1\nwhen:<when>\ncontent-length:15\n"
                b"subscription:7\n\nTEXT Now on air\0\n"
            ),
            Says(b"DISCONNECT\nreceipt:bye\n\n\0"),
            Hears(b"RECEIPT\nreceipt-id:bye\n\n\0\n"),
            Ends(),
        ),
    ),
)
