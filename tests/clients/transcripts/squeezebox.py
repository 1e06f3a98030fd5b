"""Logitech's Squeezebox, its BBC radio applet: ``_radioVis`` of BBCiPlayerApplet.lua. It names version 1.0 with a
blank before it and waits for NUL LF, so it needs ``TRAILING_LF=on``; without ``trigger-time`` it fails.
"""

from __future__ import annotations

from tests.clients.transcript import Hears, Published, Says, Transcript

TRANSCRIPTS = (
    Transcript(
        client="Squeezebox, BBC applet",
        version="1.0",
        source="BBC radio applet of SqueezePlay, _radioVis",
        does="names 1.0, listens to images (with TRAILING_LF=on)",
        settings=(("TRAILING_LF", "on"),),
        steps=(
            Says(b"CONNECT\naccept-version: 1.0\nhost: radiovis.external.bbc.co.uk\n\n\0"),
            Hears(b"CONNECTED\nsession:<session>\nversion:1.0\n\n\0\n"),
            Says(b"SUBSCRIBE\ndestination: /topic/fm/4e1/ffff/09580/image\n\n\0"),
            Published(
                b"/topic/fm/4e1/ffff/09580/image",
                b"SHOW http://slides.example/1.png",
                {"trigger-time": "NOW", "message-id": "1"},
            ),
            Hears(
                b"MESSAGE\ndestination:/topic/fm/4e1/ffff/09580/image\ntrigger-time:NOW\nmessage-id:1\nwhen:<when>\n\n"
                b"SHOW http://slides.example/1.png\0\n"
            ),
        ),
    ),
)
