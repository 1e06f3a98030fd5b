"""Refuses phrases that are not plain technical English: ``python -m tools.plain_english [FILE …]``.

It reads the documentation without its code, and the docstrings, comments and strings of Python files. ``make check``
runs it on all files. The exit code is 1 if a phrase was found.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PYTHON = ("fanout", "radiovis", "artcast", "webserver", "tools", "tests", "bench", "demo", "examples")
EXEMPT = ("tools/plain_english.py", "tests/test_plain_english.py")  # They contain the phrases themselves.
UNREAD = ("docs/contract.md", "tests/")
"""Only the rules :data:`EVERYWHERE` apply to these. Remove an entry when all its texts were read."""
_TEXTS = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
_CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)


class Rule(NamedTuple):
    """A phrase that is refused.

    :ivar phrase: a regular expression, in which ``_`` means a space or the end of a line.
    :ivar reason: why it is refused.
    :ivar hint: what to write instead.
    """

    phrase: str
    reason: str
    hint: str

    def find(self, text: str) -> Iterator[re.Match[str]]:
        return re.finditer(self.phrase.replace("_", r"(?: +| *\n *)"), text, re.MULTILINE)


EVERYWHERE = (
    Rule(r"\b(?:by|for|from|of|on|to|with)_who\b", "'who' is not a noun", "clients that …, operators who …"),
    Rule(r'(?:^ *|[.:;] |""")Who \w+ [^?\n]*\.', "'who' is not a noun", "A client that …"),
    Rule(r"\b[Ll]ikewise\b", "archaic", "also, in the same way"),
    Rule(r"\b(?:is|are|too|very)_dear\b", "it means 'beloved'", "expensive, slow"),
    Rule(r"\bthat_(?:is|are)_none\b", "elliptic", "invalid, not a …"),
    Rule(r"\bhow_often_one\b", "elliptic", "how often a client …"),
    Rule(r"\b[Ll]ately\b|\bof_late\b", "literary", "recently"),
    Rule(r"\b(?:here|there|where)(?:by|in|of|with)\b", "archaic", "a noun: with the message, in the queue"),
    Rule(r"\b(?:at|in)_one_go\b", "idiom", "at once, in one request"),
)
READ = (
    Rule(r"\b(?:are|be|is|was|were)_told\b(?!_not)", "the object is missing", "gets an error, receives …"),
    Rule(r"\banew\b", "literary", "again"),
    Rule(r"\bin_vain\b", "literary", "without success"),
    Rule(r"\bwithout_a_word\b", "metaphor", "without a message, silently"),
    Rule(r"\bin_the_clear\b", "idiom", "without TLS, in plain text"),
    Rule(r"\ball_the_same\b", "idiom", "nevertheless"),
    Rule(r"\b(?:is|are)_owed\b", "metaphor", "must get"),
    Rule(r"\bbeyond_it\b", "'it' is unclear", "above the limit, beyond this number"),
    Rule(r"\bof_(?:now|today)\b", "elliptic", "current"),
    Rule(r"\bstands?_(?:before|behind|beside|here|in|there|twice)\b", "metaphor", "is in, is before"),
    Rule(r"\bbeside\b(?!_a_radio)", "literary", "in addition to, together with"),
    Rule(r"\bgo(?:es)?_on\b", "idiom", "continue"),
    Rule(r"\b(?:had|has|have|holds?)_most\b", "the article is missing", "has the most"),
    Rule(r"\bso_(?:long|many|much|often)\b(?!_(?:as|that)\b)", "it refers to something unsaid", "this many"),
    Rule(r"\b(?:None|empty|none)_where\b", "'where' is not a condition", "None if …"),
    Rule(r"\bTo_be_called\b", "the subject is missing", "Call this …, Must be called …"),
    Rule(r"(?<!here )\b(?:are|is)_no_(?!less\b|longer\b|more\b|other\b)[a-z]+", "reads as 'there is no'", "is not a …"),
    Rule(r"\bhears?_(?:again|all|from|nothing|of|the_bus)\b", "metaphor", "receives …"),
    Rule(r"\b(?:deaf|farewell|(?<!bench\.)herds?|stormed|swallow(?:s|ed)?)\b", "metaphor", "drain, drop, burst"),
)


def prose(name: str, text: str) -> str:
    """A text with the same lines and columns, in which everything but prose is blank. :param name: of the file."""
    if not name.endswith(".py"):
        return _CODE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    lines = [[" "] * len(line) for line in text.split("\n")]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        for number, part in enumerate(token.string.split("\n") if token.type in _TEXTS else (), token.start[0]):
            begin = token.start[1] if number == token.start[0] else 0
            lines[number - 1][begin : begin + len(part)] = part.replace("#", " ")
    return "\n".join("".join(line) for line in lines)


def findings(name: str, text: str) -> Iterator[str]:
    """What is wrong in a file, as ``file:line: "phrase": reason; write: …``. :param name: path in the project."""
    read = prose(name, text)
    for rule in EVERYWHERE if name.startswith(UNREAD) else (*EVERYWHERE, *READ):
        for found in rule.find(read):
            line = read.count("\n", 0, found.end()) + 1
            yield f'{name}:{line}: "{" ".join(found[0].split())}": {rule.reason}; write: {rule.hint}'


def files() -> list[Path]:
    """The files that ``make check`` reads."""
    found = {*ROOT.glob("*.py"), *ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"}
    found |= {file for folder in PYTHON for file in (ROOT / folder).rglob("*.py")}
    return sorted(file for file in found if "node_modules" not in file.parts)


def main(names: list[str]) -> int:
    """Print what is wrong. Returns the exit code."""
    paths = [Path(name).resolve() for name in names] or files()
    texts = {os.path.relpath(path, ROOT): path.read_text() for path in paths}
    found = [line for name, text in texts.items() if name not in EXEMPT for line in findings(name, text)]
    print("".join(f"{line}\n" for line in found), end="")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
