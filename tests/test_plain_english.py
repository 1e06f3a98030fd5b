"""``tools/plain_english.py``: each rule finds its phrase and says what to write, and the project has no such phrase."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from tools import plain_english
from tools.plain_english import EVERYWHERE, READ, UNREAD, findings

ROOT = Path(__file__).parent.parent
READ_FILE, UNREAD_FILE = "fanout/hub/new.py", UNREAD[0] + "new.py"
EVERYWHERE_EXAMPLES = (
    "Text frames go to who writes text.",
    "Who may not see the reasons gets this only.",
    "Likewise, of all clients.",
    "A second look-up is dear.",
    "A key that is none is refused.",
    ":ivar waits: how often one had to wait.",
    "It has failed of late.",
    "The messages therein are kept.",
    "All of it is read in one go.",
)
READ_EXAMPLES = (
    "Its publisher is told.",
    "Each restart counted anew.",
    "A stream that was waited for in vain.",
    "The kernel cuts it without a word.",
    "The port in the clear.",
    "The copies are sent all the same.",
    "What a client is owed.",
    "The limit; beyond it the oldest go.",
    "The password of now stays valid.",
    "The header stands in the first line.",
    "A process beside a cluster.",
    "Then the reading goes on.",
    "The owner that has most loses one.",
    "After so long it is read again.",
    "The session, and None where there is none.",
    "To be called once.",
    "What came is no message.",
    "The node hears from the others.",
    "Its queue swallows everything.",
)
FINE = (
    "An operator who repairs it sees the effect. Who are you? There is no key, and the key is no longer valid.",
    "As many as that, so many that it waits. The library is told not to raise.",
)


def python(text: str) -> str:
    return f'"""Some file."""\n\nWAIT = 1\n"""{text}"""\n'


class Rules(unittest.TestCase):
    def test_each_finds_its_phrase_and_says_what_to_write(self) -> None:
        examples = (*EVERYWHERE_EXAMPLES, *READ_EXAMPLES)
        for rule, example in zip((*EVERYWHERE, *READ), examples, strict=True):
            with self.subTest(example):
                found = list(findings(READ_FILE, python(example)))
                phrase = next(rule.find(f'"""{example}"""'))[0]
                self.assertEqual(found, [f'{READ_FILE}:4: "{phrase}": {rule.reason}; write: {rule.hint}'])

    def test_none_of_them_finds_plain_english(self) -> None:
        for text in FINE:
            self.assertEqual(list(findings(READ_FILE, python(text))), [])

    def test_a_file_whose_texts_were_not_read_has_the_first_rules_only(self) -> None:
        for examples, count in ((EVERYWHERE_EXAMPLES, 1), (READ_EXAMPLES, 0)):
            for example in examples:
                with self.subTest(example):
                    self.assertEqual(len(list(findings(UNREAD_FILE, python(example)))), count)

    def test_docstrings_comments_strings_and_pages_are_read(self) -> None:
        phrase = "with 'in vain'"
        for name, text in (
            (READ_FILE, f'def ask() -> None:\n    """Ask {phrase}."""\n'),
            (READ_FILE, f"\n# Ask {phrase}.\n"),
            (READ_FILE, f'\nlog(f"asked {phrase} {{when}}")\n'),
            ("NOTES.md", f"# Notes\nAsk {phrase}.\n"),
        ):
            with self.subTest(text):
                self.assertIn(f"{name}:2: ", "\n".join(findings(name, text)))

    def test_a_phrase_may_continue_on_the_next_line(self) -> None:
        for text in ("# It asks in\n# vain.\n", '"""It asks in\nvain."""\n'):
            self.assertEqual(len(list(findings(READ_FILE, text))), 1, text)

    def test_code_is_not_read(self) -> None:
        self.assertEqual(list(findings(READ_FILE, "beside = anew = 1\n")), [])
        self.assertEqual(list(findings("NOTES.md", "Set `in vain`.\n\n```\nin vain\n```\n")), [])


class Command(unittest.TestCase):
    def run_it(self, *names: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tools.plain_english", *names]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    def test_this_project_has_none_of_the_phrases(self) -> None:
        done = self.run_it()
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_a_phrase_is_printed_with_its_place_and_an_exit_code(self) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(python(READ_EXAMPLES[1]))
            file.flush()
            done = self.run_it(file.name)
        name = os.path.relpath(file.name, ROOT)
        self.assertEqual((done.returncode, done.stderr), (1, ""))
        self.assertEqual(done.stdout, f'{name}:4: "anew": literary; write: again\n')

    def test_make_check_runs_it(self) -> None:
        recipe = (ROOT / "Makefile").read_text().partition("\ncheck:")[2].partition("\n\n")[0]
        self.assertIn("-m tools.plain_english", recipe)

    def test_every_folder_that_was_not_read_exists(self) -> None:
        names = [str(file.relative_to(ROOT)) for file in plain_english.files()]
        for prefix in UNREAD:
            with self.subTest(prefix):
                self.assertTrue(any(name.startswith(prefix) for name in names))
