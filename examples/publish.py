"""Publish a slide or a text to the radios over STOMP, with stomper.

python publish.py --login 1.rock --passcode secret /topic/fm/4e1/4000/09580/image "SHOW http://rock.example/1.png"
python publish.py --login 1.rock --passcode secret "/topic/*/text" "TEXT Now playing" --link http://rock.example/
"""

from __future__ import annotations

import argparse
import socket
import sys

from stomper import stomp_11

ESCAPES = str.maketrans({"\\": "\\\\", ":": "\\c", "\n": "\\n", "\r": None})  # stomper does not escape header values


def send_frame(headers: dict[str, str], body: str) -> str:
    """Return a SEND frame. Without the escapes, a line end in a value would begin another header."""
    frame = stomp_11.Frame()
    frame.cmd, frame.body = "SEND", body
    frame.headers = {name: value.translate(ESCAPES) for name, value in headers.items() if value}
    return frame.pack()


def ask(server: socket.socket, frame: str, answer: str) -> None:
    """Send a frame, and wait for its answer. Raise ConnectionError for another frame or the end of the connection."""
    server.sendall(frame.encode())
    received = b""
    while b"\0" not in received:
        octets = server.recv(4096)
        if not octets:
            raise ConnectionError("the server closed the connection")
        received += octets
    came = stomp_11.unpack_frame(received.partition(b"\0")[0].decode().lstrip("\n"))
    if came["cmd"] != answer:
        raise ConnectionError(came["headers"].get("message", f"unexpected {came['cmd']}"))


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish a slide or a text over STOMP.")
    parser.add_argument("topic", help="such as /topic/fm/4e1/4000/09580/image; /topic/*/image for all its channels")
    parser.add_argument("body", help='"SHOW <URL>" or "TEXT <text>"')
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=61613)
    parser.add_argument("--login", required=True)
    parser.add_argument("--passcode", required=True)
    parser.add_argument("--link", default="", help="the page that a click on the slide opens")
    given = parser.parse_args()
    headers = {"destination": given.topic, "link": given.link, "trigger-time": "NOW", "receipt": "published"}
    try:
        with socket.create_connection((given.host, given.port), timeout=10) as server:
            ask(server, stomp_11.connect(given.login, given.passcode, given.host), "CONNECTED")
            ask(server, send_frame(headers, given.body), "RECEIPT")
    except OSError as error:
        sys.exit(f"not published by {given.host}:{given.port}: {error}")


if __name__ == "__main__":
    main()
