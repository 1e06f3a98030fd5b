"""The pages about Artcast say what is so: quoted code is in the tree, options exist, the example's answer is real."""

from __future__ import annotations

import re
import subprocess
import sys
import unittest

from artcast.settings import REFERENCE_HEAD, Settings
from fanout.settings.reference import reference
from tests.artcast.server import ArtcastServer, Asking
from tests.processes import ROOT

DOCS = ROOT / "docs"
_QUOTE = re.compile(r"^`(\S+\.py)`:\n\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_EXAMPLE = re.compile(r"^\$ curl -i http://localhost:8888(\S+)\n(.*?)\n\n(.*?)\n```", re.MULTILINE | re.DOTALL)
CC0 = {"uri": "https://creativecommons.org/publicdomain/zero/1.0/", "title": "CC0 1.0"}


def _lines(text: str) -> str:
    """Without indentation, which a page leaves out."""
    return "\n".join(line.strip() for line in text.strip().splitlines())


class WritingAnApp(unittest.TestCase):
    PAGE = (DOCS / "writing-an-app.md").read_text()

    def test_all_code_is_code_of_the_tree(self) -> None:
        quotes = _QUOTE.findall(self.PAGE)
        self.assertEqual(len(quotes), self.PAGE.count("```python"))
        self.assertGreater(len(quotes), 8)
        for path, code in quotes:
            self.assertIn(_lines(code), _lines((ROOT / path).read_text()), path)

    def test_every_file_it_names_is_there(self) -> None:
        for path in re.findall(r"`((?:artcast|fanout|radiovis|tests)/[\w/.]+)`", self.PAGE):
            self.assertTrue((ROOT / path).exists(), path)
        for name in re.findall(r"\b(\w+\.py)\b", self.PAGE.partition("```\nartcast/\n")[2].partition("```")[0]):
            self.assertTrue((ROOT / "artcast" / name).exists(), name)


class Artcast(unittest.TestCase):
    PAGE = (DOCS / "artcast.md").read_text()

    def test_its_options_exist(self) -> None:
        help_ = [sys.executable, "-m", "artcast.sources.manual", "--help"]
        source = subprocess.run(help_, cwd=ROOT, capture_output=True, text=True, check=True)
        flags = {"--" + name.lower().replace("_", "-") for name in Settings.model_fields}
        flags |= {"--with", "--standalone", "--feed", *re.findall(r"--[a-z-]+", source.stdout)}
        self.assertLessEqual(set(re.findall(r"(?<![-\w|])--[a-z][a-z-]+", self.PAGE)), flags)
        for name in re.findall(r"`([A-Z][A-Z_]+[A-Z])`", self.PAGE):
            self.assertIn(
                name, {*Settings.model_fields, "HEAD", "OPTIONS", "JOURNAL_MAX_BYTES"}
            )  # The host has that one.

    def test_the_table_of_options_is_made_from_the_code(self) -> None:
        written = (DOCS / "artcast-settings.md").read_text()
        self.assertEqual(written, reference(Settings, REFERENCE_HEAD, reloads=False), "run make settings")

    def test_the_answer_it_shows_is_one_of_ours(self) -> None:
        ((path, head, body),) = _EXAMPLE.findall(self.PAGE)
        key = path.removeprefix("/artcasts/")
        with ArtcastServer() as server:
            server.register(key, description="", provenance="", license=CC0)
            with Asking(server.client, key) as client:
                client.held()
                server.send(key, int(body))
                answer = client.answer()
        first, *headers = head.splitlines()
        self.assertEqual(first, f"{answer.headers['version']} {answer.status} OK")
        for line in headers:
            name, value = line.split(": ", 1)
            self.assertEqual(answer.headers[name], value)
        self.assertEqual(answer.body.decode(), body)
