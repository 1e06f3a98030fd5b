"""The FM radio of Samsung's phones, and Revo's radios: ``com.sec.android.app.dns.radiovis.stomp``,
RadioVISStompClient.java and RadioVISStompParser.java, in a public copy of the phone's firmware. They show how it
reads: the command is the first line that is not empty; TEXT, SHOW, trigger-time, link and destination are searched
for in the whole frame, so each of them may stand there only once and ``destination`` before ``link``; after the
second ERROR it goes to HTTP. The file that sends is not among them: CONNECT and SUBSCRIBE are those of RVIS01 §4.
"""

from __future__ import annotations

from tests.clients.transcript import Hears, Published, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="Samsung FM radio",
        version="1.0",
        source="RadioVISStompClient.java, RadioVISStompParser.java; what it sends as in RVIS01",
        does="listens to text and image, is refused once",
        steps=(
            Says(b"CONNECT\nlogin:\npasscode:\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(b"SUBSCRIBE\ndestination:/topic/fm/4e1/ffff/09580/text\nack:auto\n\n\0"),
            Says(b"SUBSCRIBE\ndestination:/topic/fm/4e1/ffff/09580/image\nack:auto\n\n\0"),
            Says(b"UNSUBSCRIBE\ndestination:/topic/fm/4e1/ffff/10800/image\n\n\0"),
            Hears(b"ERROR\nmessage:Not subscribed\n\n\0"),
            Published(b"/topic/fm/4e1/ffff/09580/text", b"TEXT Now on air", {"message-id": "1"}),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/09580/text\nmessage-id:1\nwhen:<when>\n\nTEXT Now on air\0"
            ),
            Published(
                b"/topic/fm/4e1/ffff/09580/image",
                b"SHOW http://slides.example/1.png",
                {
                    "link": "http://l/",
                    "trigger-time": "NOW",
                    "message-id": "2",
                    "x-link": "TEXT",
                    "persistent": "false",
                },
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/09580/image\ntrigger-time:NOW\nlink:http://l/\nmessage-id:2\n"
                b"when:<when>\n\nSHOW http://slides.example/1.png\0"
            ),
        ),
    ),
)
