"""npm node-stomp 1.1.0, written from a recording of the package. It offers 1.1 and 1.0, repeats the session of
CONNECTED, and sends ``id:0`` with each SUBSCRIBE (contract §2, change 14); test_node_stomp.py runs the package
itself.
"""

from __future__ import annotations

from tests.clients.transcript import Hears, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="node-stomp 1.1.0",
        version="1.1",
        source="npm node-stomp 1.1.0, recorded",
        does="two subscriptions under id 0, publishes to both, ends both",
        steps=(
            Says(b"CONNECT\nlogin:1.test\npasscode:test\naccept-version:1.1,1.0\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.1\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"),
            Says(
                b"SUBSCRIBE\ndestination:/topic/id/vis.example.org/ffff/image\nsession:<session>\nid:0\n\n\0"
                b"SUBSCRIBE\ndestination:/topic/id/vis.example.org/ffff/text\nsession:<session>\nid:0\n\n\0"
            ),
            Says(b"SEND\ndestination:/topic/id/vis.example.org/ffff/text\nsession:<session>\n\nTEXT Now on air\0"),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/text\nmessage-id:<message-id>\nwhen:<when>\n"
                b"content-length:15\nsubscription:0\n\nTEXT Now on air\0\n"
            ),
            Says(
                b"SEND\ndestination:/topic/id/vis.example.org/ffff/image\nsession:<session>\n\n"
                b"SHOW http://slides.example/1.png\0"
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/image\nmessage-id:<message-id>\nwhen:<when>\n"
                b"content-length:32\nsubscription:0\n\nSHOW http://slides.example/1.png\0\n"
            ),
            Says(b"UNSUBSCRIBE\ndestination:/topic/id/vis.example.org/ffff/text\nid:0\nsession:<session>\n\n\0"),
            Says(
                b"SEND\ndestination:/topic/id/vis.example.org/ffff/image\nsession:<session>\n\n"
                b"SHOW http://slides.example/2.png\0"
            ),
        ),
    ),
)
