"""Publish a slide, a text or both to the radios over HTTP, with Python's standard library only.

python publish_http.py --login 1.rock --password secret --image http://rock.example/1.png --text "Now: a song"
python publish_http.py --login 1.rock --password secret --text "Traffic" --channel /topic/fm/4e1/4000/09580/
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request

SECONDS = 70  # to wait for the answer: a node without its broker waits for a minute before it answers


def publish(url: str, login: str, password: str, fields: dict[str, object]) -> None:
    """Publish, and return when the broker has confirmed the messages. Raise OSError with the reason if it has not."""
    credentials = base64.b64encode(f"{login}:{password}".encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": f"Basic {credentials}"}
    station = login.partition(".")[0]
    request = urllib.request.Request(f"{url}/services/{station}", json.dumps(fields).encode(), headers)
    try:
        urllib.request.urlopen(request, timeout=SECONDS).close()
    except urllib.error.HTTPError as error:
        raise OSError(json.load(error)["detail"]) from None


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish a slide, a text or both over HTTP.")
    parser.add_argument(
        "--url", default="http://127.0.0.1:8080", help="the URL of a node; use https:// for another machine"
    )
    parser.add_argument("--login", required=True)
    parser.add_argument("--password", required=True)
    parser.add_argument("--image", help="URL of a picture, PNG or JPEG, 320x240")
    parser.add_argument("--text", help="at most 128 characters")
    parser.add_argument("--link", help="the page that a click on the slide opens")
    parser.add_argument("--channel", action="append", help="may be repeated (default: all channels of the station)")
    given = vars(parser.parse_args())
    url, login, password = (given.pop(name) for name in ("url", "login", "password"))
    try:
        publish(url, login, password, {name: value for name, value in given.items() if value})
    except OSError as error:
        sys.exit(f"not published by {url}: {error}")


if __name__ == "__main__":
    main()
