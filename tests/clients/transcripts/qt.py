"""A hybrid radio in Qt, and QStomp, its STOMP library: StompTransport.cpp and HybridRadioCore.cpp of the radio,
src/qstomp.cpp of github.com/p2k/QStomp at 0ccb909. QStomp writes a blank behind each colon, but for login and
passcode, and LF behind each NUL. The radio drops messages whose ``destination`` is not the topic it asked for, to the
letter.
"""

from __future__ import annotations

from tests.clients.transcript import Ends, Hears, Published, Reaches, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="Qt hybrid radio (QStomp)",
        version="1.0",
        source="StompTransport.cpp over github.com/p2k/QStomp at 0ccb909",
        does="subscribes to text and image with receipts and ids, and leaves",
        steps=(
            Says(b"CONNECT\nlogin:\npasscode:\n\n\0\n"),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(
                b"SUBSCRIBE\nreceipt: 1-1-text\nid: id-text\ndestination: /topic/fm/ch/ffff/09580/text\nack: auto\n\n"
                b"\0\n"
            ),
            Says(
                b"SUBSCRIBE\nreceipt: 1-1-image\nid: id-image\ndestination: /topic/fm/ch/ffff/09580/image\nack: auto\n"
                b"\n\0\n"
            ),
            Hears(b"RECEIPT\nreceipt-id: 1-1-text\n\n\0RECEIPT\nreceipt-id: 1-1-image\n\n\0"),
            Published(
                b"/topic/fm/4e1/ffff/09580/image",
                b"SHOW http://slides.example/1.png",
                {"link": "http://l/", "SlideId": "7", "message-id": "ID:1"},
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/ch/ffff/09580/image\nlink:http://l/\nSlideId:7\nmessage-id:ID:1\n"
                b"when:<when>\nsubscription: id-image\n\nSHOW http://slides.example/1.png\0"
            ),
            Says(b"UNSUBSCRIBE\nid: id-text\ndestination: /topic/fm/ch/ffff/09580/text\n\n\0\n"),
            Says(b"UNSUBSCRIBE\nid: id-image\ndestination: /topic/fm/ch/ffff/09580/image\n\n\0\n"),
            Published(b"/topic/fm/ch/ffff/09580/text", b"TEXT Not heard"),
            Published(b"/topic/fm/ch/ffff/09580/image", b"SHOW http://slides.example/not-heard.png"),
            Says(b"DISCONNECT\nreceipt: hybrid-radio-id-disconnect\n\n\0\n"),
            Hears(b"RECEIPT\nreceipt-id: hybrid-radio-id-disconnect\n\n\0"),
            Ends(),
        ),
    ),
    Transcript(
        client="QStomp",
        version="1.0",
        source="github.com/p2k/QStomp, src/qstomp.cpp at 0ccb909",
        does="publishes a text",
        steps=(
            Says(b"CONNECT\nlogin:1.test\npasscode:test\n\n\0\n"),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(
                b"SEND\ncontent-encoding: UTF-8\ndestination: /topic/id/vis.example.org/ffff/text\n\n"
                b"TEXT caf\xc3\xa9\0\n"
            ),
            Reaches(
                b"/topic/id/vis.example.org/ffff/text",
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/text\nmessage-id:<message-id>\nwhen:<when>\n\n"
                b"TEXT caf\xc3\xa9\0",
            ),
            Says(b"DISCONNECT\n\n\0\n"),
            Ends(),
        ),
    ),
)
