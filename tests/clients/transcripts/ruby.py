"""Ruby clients. radiovis-generator, a publisher: lib/radiovis-generator.rb of
github.com/JamesHarrison/radiovis-generator at c279c7e over the gem ``stomp`` (lib/connection/netio.rb of
github.com/stompgem/stomp at 072dfb9), which writes each line by itself. radiovis-to-mqtt, a bridge:
radiovis-to-mqtt.rb of github.com/njh/radiovis-to-mqtt at 2a6718f over EventMachine's lib/em/protocols/stomp.rb at
3aa6332, which writes a blank behind the colon of ``content-length``.
"""

from __future__ import annotations

from tests.clients.transcript import Hears, Published, Reaches, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="radiovis-generator (gem stomp)",
        version="1.0",
        source="github.com/JamesHarrison/radiovis-generator at c279c7e over github.com/stompgem/stomp at 072dfb9",
        does="publishes image and text",
        steps=(
            Says(
                b"CONNECT\nlogin:1.test\npasscode:test\ncontent-length:0\ncontent-type:text/plain; charset=UTF-8\n\n\0"
            ),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(
                b"SEND\npersistent:false\ndestination:/topic/fm/4e1/ffff/10320/image\ncontent-length:32\n"
                b"content-type:text/plain; charset=UTF-8\n\nSHOW http://slides.example/1.png\0"
            ),
            Says(
                b"SEND\npersistent:false\ndestination:/topic/fm/4e1/ffff/10320/text\ncontent-length:15\n"
                b"content-type:text/plain; charset=UTF-8\n\nTEXT Now on air\0"
            ),
            Reaches(
                b"/topic/fm/4e1/ffff/10320/image",
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/10320/image\ncontent-type:text/plain; charset=UTF-8\n"
                b"message-id:<message-id>\nwhen:<when>\n\nSHOW http://slides.example/1.png\0",
            ),
            Reaches(
                b"/topic/fm/4e1/ffff/10320/text",
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/10320/text\ncontent-type:text/plain; charset=UTF-8\n"
                b"message-id:<message-id>\nwhen:<when>\n\nTEXT Now on air\0",
            ),
        ),
    ),
    Transcript(
        client="radiovis-to-mqtt (EventMachine)",
        version="1.0",
        source="github.com/njh/radiovis-to-mqtt at 2a6718f over github.com/eventmachine/eventmachine at 3aa6332",
        does="listens to image and text",
        steps=(
            Says(b"CONNECT\ncontent-length: 0\ncontent-type: text/plain; charset=UTF-8\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\n\n\0"),
            Says(
                b"SUBSCRIBE\ndestination:/topic/fm/4e1/ffff/09580/image\nack:auto\ncontent-length: 0\n"
                b"content-type: text/plain; charset=UTF-8\n\n\0"
            ),
            Says(
                b"SUBSCRIBE\ndestination:/topic/fm/4e1/ffff/09580/text\nack:auto\ncontent-length: 0\n"
                b"content-type: text/plain; charset=UTF-8\n\n\0"
            ),
            Published(b"/topic/fm/4e1/ffff/09580/text", b"TEXT Now on air", {"message-id": "1"}),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/09580/text\nmessage-id:1\nwhen:<when>\n\nTEXT Now on air\0"
            ),
        ),
    ),
)
