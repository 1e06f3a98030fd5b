"""RadiodnsMware, a publisher of 2026: src/radiovis/radiovis.service.ts and scripts/verify-stomp.ts of
github.com/haedmoli/RadiodnsMware at f99456a, over npm stompit 1.0.0, written from a recording of stompit. Its topics
lack ``fm`` and the frequency; stompit writes the NUL of a frame without a body by itself.
"""

from __future__ import annotations

from tests.clients.transcript import Ends, Hears, Published, Says, Transcript

_CONNECT = (
    b"CONNECT\naccept-version:1.0,1.1,1.2\nhost:127.0.0.1\nlogin:1.test\npasscode:test\nheart-beat:10000,10000\n\n\0\n"
)
_CONNECTED = b"CONNECTED\nsession:<session>\nversion:1.2\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"

TRANSCRIPTS = (
    Transcript(
        client="RadiodnsMware (stompit 1.0.0)",
        version="1.2",
        source="github.com/haedmoli/RadiodnsMware at f99456a, radiovis.service.ts",
        does="publishes to a topic that is not its own",
        steps=(
            Says(_CONNECT),
            Hears(_CONNECTED),
            Says(
                b"SEND\ndestination:/topic/2a3/2016/image\ncontent-type:text/plain; charset=utf-8\n\n"
                b"SHOW http://slides.example/1.png\0\n"
            ),
            Hears(
                b"ERROR\nmessage:You cannot do that.\ncontent-type:text/plain\ncontent-length:122\n\n"
                b"1.test may not publish to /topic/2a3/2016/image: the topic is in none of the station's channels.\n"
                b"The frame at fault: SEND\n\0\n"
            ),
            Ends(),
        ),
    ),
    Transcript(
        client="RadiodnsMware (stompit 1.0.0)",
        version="1.2",
        source="github.com/haedmoli/RadiodnsMware at f99456a, verify-stomp.ts",
        does="listens to image and text with receipts, leaves",
        steps=(
            Says(_CONNECT),
            Hears(_CONNECTED),
            Says(b"SUBSCRIBE\ndestination:/topic/2a3/ffff/image\nack:auto\nreceipt:receipt-sub-image\nid:1\n\n"),
            Says(b"\0\n"),
            Says(b"SUBSCRIBE\ndestination:/topic/2a3/ffff/text\nack:auto\nreceipt:receipt-sub-text\nid:2\n\n"),
            Says(b"\0\n"),
            Hears(b"RECEIPT\nreceipt-id:receipt-sub-image\n\n\0\nRECEIPT\nreceipt-id:receipt-sub-text\n\n\0\n"),
            Says(b"DISCONNECT\nreceipt:1\n\n"),
            Says(b"\0\n"),
            Hears(b"RECEIPT\nreceipt-id:1\n\n\0\n"),
            Ends(),
        ),
    ),
    Transcript(
        client="stompit 1.0.0",
        version="1.2",
        source="npm stompit 1.0.0, recorded",
        does="listens to a topic, leaves",
        steps=(
            Says(_CONNECT),
            Hears(_CONNECTED),
            Says(b"SUBSCRIBE\ndestination:/topic/id/vis.example.org/ffff/image\nack:auto\nid:1\n\n"),
            Says(b"\0\n"),
            Published(
                b"/topic/id/vis.example.org/ffff/image", b"SHOW http://slides.example/1.png", {"message-id": "1"}
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/id/vis.example.org/ffff/image\nmessage-id:1\nwhen:<when>\n"
                b"content-length:32\nsubscription:1\n\nSHOW http://slides.example/1.png\0\n"
            ),
            Says(b"DISCONNECT\nreceipt:1\n\n"),
            Says(b"\0\n"),
            Hears(b"RECEIPT\nreceipt-id:1\n\n\0\n"),
            Ends(),
        ),
    ),
)
