"""The RadioDNS plugin of FM-DX Webserver: RadioDNS/pluginRadioDNS_server.js of
github.com/ryanginn/radiodns-radiovis-plugin-fmdx-webserver at 4984c62. It calls 30 s of silence a timeout.
"""

from __future__ import annotations

from tests.clients.transcript import Hears, Published, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="FM-DX Webserver plugin",
        version="1.1",
        source="github.com/ryanginn/radiodns-radiovis-plugin-fmdx-webserver at 4984c62",
        does="offers 1.0 and 1.1, listens to text and image, beats",
        steps=(
            Says(b"CONNECT\naccept-version:1.0,1.1\nhost:vis.example.org\nheart-beat:10000,10000\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.1\nserver:<server>\nheart-beat:10000,10000\n\n\0\n"),
            Says(b"SUBSCRIBE\nid:rvis-text\ndestination:/topic/fm/4e1/ffff/09580/text\nack:auto\n\n\0"),
            Says(b"SUBSCRIBE\nid:rvis-image\ndestination:/topic/fm/4e1/ffff/09580/image\nack:auto\n\n\0"),
            Says(b"\n"),
            Published(
                b"/topic/fm/4e1/ffff/09580/image",
                b"SHOW http://slides.example/1.png",
                {"link": "http://l/", "message-id": "1"},
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/09580/image\nlink:http\\c//l/\nmessage-id:1\nwhen:<when>\n"
                b"content-length:32\nsubscription:rvis-image\n\nSHOW http://slides.example/1.png\0\n"
            ),
            Published(b"/topic/fm/4e1/ffff/09580/text", b"TEXT Now on air", {"message-id": "2"}),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/09580/text\nmessage-id:2\nwhen:<when>\n"
                b"content-length:15\nsubscription:rvis-text\n\nTEXT Now on air\0\n"
            ),
        ),
    ),
)
