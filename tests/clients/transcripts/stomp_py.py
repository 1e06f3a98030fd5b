"""stomp.py, which most Python programs use, and receivers that were built with it: BBC's RadioVisDemo and Global
Radio's FMVis for the Nokia N900. stomp.py 9 writes STOMP for CONNECT from 1.1 on; its 1.0 names its version.
"""

from __future__ import annotations

from tests.clients.transcript import Ends, Hears, Published, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="stomp.py 9.0.0",
        version="1.0",
        source="stomp.py 9.0.0, Connection10, from PyPI, recorded",
        does="publishes, hears it, leaves",
        steps=(
            Says(b"CONNECT\naccept-version:1.0\nlogin:1.test\npasscode:test\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.0\n\n\0"),
            Says(b"SUBSCRIBE\nack:auto\ndestination:/topic/id/vis.example.org/ffff/image\n\n\0"),
            Says(
                b"SEND\ncontent-length:32\ndestination:/topic/id/vis.example.org/ffff/image\nlink:http://l/\n"
                b"trigger-time:NOW\n\nSHOW http://slides.example/1.png\0"
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/image\ntrigger-time:NOW\nlink:http://l/\n"
                b"message-id:<message-id>\nwhen:<when>\n\nSHOW http://slides.example/1.png\0"
            ),
            Says(b"UNSUBSCRIBE\ndestination:/topic/id/vis.example.org/ffff/image\n\n\0"),
            Says(b"DISCONNECT\nreceipt:06aff222-80c5-4e82-9330-7f6db3872ea4\n\n\0"),
            Hears(b"RECEIPT\nreceipt-id:06aff222-80c5-4e82-9330-7f6db3872ea4\n\n\0"),
            Ends(),
        ),
    ),
    Transcript(
        client="stomp.py 9.0.0",
        version="1.1",
        source="stomp.py 9.0.0, Connection11, from PyPI, recorded",
        does="publishes, hears it, leaves",
        steps=(
            Says(b"STOMP\naccept-version:1.1\nlogin:1.test\npasscode:test\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.1\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"),
            Says(b"SUBSCRIBE\nack:auto\ndestination:/topic/id/vis.example.org/ffff/image\nid:7\n\n\0"),
            Says(
                b"SEND\ncontent-length:32\ndestination:/topic/id/vis.example.org/ffff/image\nlink:http\\c//l/\n"
                b"trigger-time:NOW\n\nSHOW http://slides.example/1.png\0"
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/image\ntrigger-time:NOW\nlink:http\\c//l/\n"
                b"message-id:<message-id>\nwhen:<when>\ncontent-length:32\nsubscription:7\n\nSHOW http://slides.example/1.png\0\n"
            ),
            Says(b"UNSUBSCRIBE\nid:7\n\n\0"),
            Says(b"DISCONNECT\nreceipt:06aff222-80c5-4e82-9330-7f6db3872ea4\n\n\0"),
            Hears(b"RECEIPT\nreceipt-id:06aff222-80c5-4e82-9330-7f6db3872ea4\n\n\0\n"),
            Ends(),
        ),
    ),
    Transcript(
        client="stomp.py 9.0.0",
        version="1.2",
        source="stomp.py 9.0.0, Connection12, from PyPI, recorded",
        does="publishes, hears it, leaves",
        steps=(
            Says(b"STOMP\naccept-version:1.2\nhost:127.0.0.1\nlogin:1.test\npasscode:test\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.2\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"),
            Says(b"SUBSCRIBE\nack:auto\ndestination:/topic/id/vis.example.org/ffff/image\nid:7\n\n\0"),
            Says(
                b"SEND\ncontent-length:32\ndestination:/topic/id/vis.example.org/ffff/image\nlink:http\\c//l/\n"
                b"trigger-time:NOW\n\nSHOW http://slides.example/1.png\0"
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/image\ntrigger-time:NOW\nlink:http\\c//l/\n"
                b"message-id:<message-id>\nwhen:<when>\ncontent-length:32\nsubscription:7\n\nSHOW http://slides.example/1.png\0\n"
            ),
            Says(b"UNSUBSCRIBE\nid:7\n\n\0"),
            Says(b"DISCONNECT\nreceipt:06aff222-80c5-4e82-9330-7f6db3872ea4\n\n\0"),
            Hears(b"RECEIPT\nreceipt-id:06aff222-80c5-4e82-9330-7f6db3872ea4\n\n\0\n"),
            Ends(),
        ),
    ),
    Transcript(
        client="BBC RadioVisDemo (stomp.py)",
        version="1.0",
        source="github.com/bbc/RadioVisDemo, lib/radiovis_client.py at 0172713, with stomp.py 9.0.0",
        does="listens to text and image, leaves",
        steps=(
            Says(b"CONNECT\naccept-version:1.0\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.0\n\n\0"),
            Says(b"SUBSCRIBE\nack:auto\ndestination:/topic/fm/4e1/ffff/09580/text\n\n\0"),
            Says(b"SUBSCRIBE\nack:auto\ndestination:/topic/fm/4e1/ffff/09580/image\n\n\0"),
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
            Says(b"DISCONNECT\nreceipt:b1c00b7e-0d4a-4a67-9a13-b0b0b8a3e0a1\n\n\0"),
            Hears(b"RECEIPT\nreceipt-id:b1c00b7e-0d4a-4a67-9a13-b0b0b8a3e0a1\n\n\0"),
            Ends(),
        ),
    ),
    Transcript(
        client="FMVis on a Nokia N900 (stomp.py 2)",
        version="1.0",
        source="FMVis of Global Radio, ControlMessageListener; its headers in the order of Python 2's dictionaries",
        does="CONNECT and SUBSCRIBE at once, listens to text and image",
        steps=(
            Says(
                b"CONNECT\n\n\0SUBSCRIBE\nack:auto\ndestination:/topic/fm/4e1/ffff/09580/text\n\n\0"
                b"SUBSCRIBE\nack:auto\ndestination:/topic/fm/4e1/ffff/09580/image\n\n\0"
            ),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Published(b"/topic/fm/4e1/ffff/09580/image", b"SHOW http://slides.example/1.png", {"message-id": "1"}),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/09580/image\nmessage-id:1\nwhen:<when>\n\n"
                b"SHOW http://slides.example/1.png\0"
            ),
        ),
    ),
)
