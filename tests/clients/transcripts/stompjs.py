"""STOMP clients of browsers, written from recordings of the packages under Node: @stomp/stompjs 7.5.0, stompjs 2.3.3
(the older stomp.js, over a WebSocket and over TCP), and webstomp-client 1.2.6. test_stompjs.py runs the first one
itself.
"""

from __future__ import annotations

from tests.clients.transcript import Ends, Hears, Published, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="@stomp/stompjs 7.5.0",
        version="1.2",
        source="npm @stomp/stompjs 7.5.0, recorded",
        does="publishes, hears it, leaves",
        transport="WebSocket",
        subprotocols=("v12.stomp", "v11.stomp", "v10.stomp"),
        steps=(
            Says(b"CONNECT\nlogin:1.test\npasscode:test\naccept-version:1.2,1.1,1.0\nheart-beat:10000,10000\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.2\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"),
            Says(b"SUBSCRIBE\nid:sub-0\ndestination:/topic/id/vis.example.org/ffff/image\n\n\0"),
            Says(
                b"SEND\ndestination:/topic/id/vis.example.org/ffff/image\nlink:http\\c//s\\c80/\ncontent-length:32\n\n"
                b"SHOW http://slides.example/1.png\0"
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/image\nlink:http\\c//s\\c80/\n"
                b"message-id:<message-id>\nwhen:<when>\ncontent-length:32\nsubscription:sub-0\n\n"
                b"SHOW http://slides.example/1.png\0\n"
            ),
            Says(b"UNSUBSCRIBE\nid:sub-0\n\n\0"),
            Says(b"DISCONNECT\nreceipt:close-1\n\n\0"),
            Hears(b"RECEIPT\nreceipt-id:close-1\n\n\0\n"),
            Ends(),
        ),
    ),
    Transcript(
        client="stompjs 2.3.3",
        version="1.1",
        source="npm stompjs 2.3.3, recorded",
        does="listens with an empty login, leaves",
        transport="WebSocket",
        steps=(
            Says(b"CONNECT\nlogin:\npasscode:\naccept-version:1.1,1.0\nheart-beat:10000,10000\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.1\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"),
            Says(b"SUBSCRIBE\nid:sub-0\ndestination:/topic/id/vis.example.org/ffff/image\n\n\0"),
            Published(
                b"/topic/id/vis.example.org/ffff/image", b"SHOW http://slides.example/1.png", {"message-id": "1"}
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/image\nmessage-id:1\nwhen:<when>\n"
                b"content-length:32\nsubscription:sub-0\n\nSHOW http://slides.example/1.png\0\n"
            ),
            Says(b"UNSUBSCRIBE\nid:sub-0\n\n\0"),
            Says(b"DISCONNECT\n\n\0"),
            Ends(),
        ),
    ),
    Transcript(
        client="stompjs 2.3.3",
        version="1.1",
        source="npm stompjs 2.3.3 with overTCP, recorded",
        does="publishes, hears it, leaves",
        steps=(
            Says(b"CONNECT\nlogin:1.test\npasscode:test\naccept-version:1.1,1.0\nheart-beat:10000,10000\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.1\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"),
            Says(b"SUBSCRIBE\nid:sub-0\ndestination:/topic/id/vis.example.org/ffff/image\n\n\0"),
            Says(
                b"SEND\nlink:http://s:80/\ndestination:/topic/id/vis.example.org/ffff/image\ncontent-length:32\n\n"
                b"SHOW http://slides.example/1.png\0"
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/image\nlink:http\\c//s\\c80/\n"
                b"message-id:<message-id>\nwhen:<when>\ncontent-length:32\nsubscription:sub-0\n\n"
                b"SHOW http://slides.example/1.png\0\n"
            ),
            Says(b"UNSUBSCRIBE\nid:sub-0\n\n\0"),
            Says(b"DISCONNECT\n\n\0"),
            Ends(),
        ),
    ),
    Transcript(
        client="webstomp-client 1.2.6",
        version="1.2",
        source="npm webstomp-client 1.2.6, recorded",
        does="listens, leaves",
        transport="WebSocket",
        subprotocols=("v10.stomp", "v11.stomp", "v12.stomp"),
        steps=(
            Says(b"CONNECT\naccept-version:1.2,1.1,1.0\nheart-beat:10000,10000\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.2\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"),
            Says(b"SUBSCRIBE\nid:sub-1796077811955-136\ndestination:/topic/id/vis.example.org/ffff/image\n\n\0"),
            Published(
                b"/topic/id/vis.example.org/ffff/image", b"SHOW http://slides.example/1.png", {"message-id": "1"}
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/image\nmessage-id:1\nwhen:<when>\n"
                b"content-length:32\nsubscription:sub-1796077811955-136\n\nSHOW http://slides.example/1.png\0\n"
            ),
            Says(b"UNSUBSCRIBE\nid:sub-1796077811955-136\n\n\0"),
            Says(b"DISCONNECT\n\n\0"),
            Ends(),
        ),
    ),
)
