"""Any key and value, from the command line: ``python -m artcast.sources.manual weather/here '"rain"'``.

A value that is not JSON is treated as text, so the quotes may be omitted.
"""

from __future__ import annotations

import argparse
import json
import sys

from artcast import source


def value_of(text: str) -> object:
    """The value of an argument: JSON, or otherwise the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send one value.")
    parser.add_argument("key", metavar="KEY")
    parser.add_argument("value", metavar="VALUE", help="JSON, or any text")
    parser.add_argument("--description", help="also send this description of the key")
    options = source.parse(parser=parser)
    try:
        if options.description is not None:
            source.register(options.key, options.description, "by hand")
        source.send(options.key, value_of(options.value))
    except source.SourceError as error:
        sys.exit(str(error))
