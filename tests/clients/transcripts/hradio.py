"""HRadio, an Android app of an EU project: RadioDnsServiceVis.java of github.com/hradio/radiodns at 59218fd, over
Gozirra (``net.ser1.stomp``, Client.java and Transmitter.java). It logs in with empty strings, and tries again every
second if it is not connected.
"""

from __future__ import annotations

from tests.clients.transcript import Ends, Hears, Published, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="HRadio (Gozirra)",
        version="1.0",
        source="github.com/hradio/radiodns, RadioDnsServiceVis.java at 59218fd, over net.ser1.stomp",
        does="listens to text and image, and leaves",
        steps=(
            Says(b"CONNECT\nlogin:\npasscode:\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(b"SUBSCRIBE\ndestination:/topic/dab/4e1/4001/ffff/0/text\n\n\0"),
            Says(b"SUBSCRIBE\ndestination:/topic/dab/4e1/4001/ffff/0/image\n\n\0"),
            Published(
                b"/topic/dab/4e1/4001/ffff/0/image",
                b"SHOW http://slides.example/1.png",
                {
                    "trigger-time": "2026-11-21T20:00:00Z",
                    "link": "http://l/",
                    "SlideId": "7",
                    "CategoryId": "3",
                    "CategoryTitle": "News",
                    "message-id": "1",
                },
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/dab/4e1/4001/ffff/0/image\ntrigger-time:2026-11-21T20:00:00Z\n"
                b"link:http://l/\nSlideId:7\nCategoryId:3\nCategoryTitle:News\nmessage-id:1\nwhen:<when>\n\n"
                b"SHOW http://slides.example/1.png\0"
            ),
            Says(b"UNSUBSCRIBE\ndestination:/topic/dab/4e1/4001/ffff/0/image\n\n\0"),
            Says(b"UNSUBSCRIBE\ndestination:/topic/dab/4e1/4001/ffff/0/text\n\n\0"),
            Says(b"DISCONNECT\n\n\0"),
            Ends(),
        ),
    ),
)
