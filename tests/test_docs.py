"""What the documentation names exists: pages, headings, paths, settings, metrics, events, addresses, commands."""

from __future__ import annotations

import re
import unittest
from collections.abc import Iterator
from pathlib import Path

from artcast.settings import Settings as ArtcastSettings
from radiovis.admin.metrics import page as metrics_page
from radiovis.settings import Settings
from webserver import guest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "examples" / "README.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))
OURS = [page for page in PAGES if page.name != "contract.md"]
"""Those that describe this server, and not what others have."""

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_ANCHOR = re.compile(r'<a id="([^"]+)">')
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")
_SETTING = re.compile(r"\b(?:[A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])\b")
_PATH = re.compile(r"^(?:artcast|bench|demo|deploy|docs|examples|fanout|radiovis|tests|tools|webserver)/[\w/.@-]*$")
_METRIC = re.compile(r"^(?:fanout|radiovis)_\w+$")
_EVENT = re.compile(r"^[a-z]+\.[a-z_]+$")
_ATTACK = re.compile(r"\.(?:attack|attack_with|rounds)\(f?\"([^\"]+)\"")
_ADDRESS = re.compile(
    r"^(?:GET |POST )?/(?:radiodns|comet|services|stomp|events|service|api|healthz|readyz|metrics|status)\b"
)
GONE_ON = ("CHANGELOG.md", "settings.md", "artcast-settings.md")
"""Pages that name settings without effect."""
OF_OLD = ("CHANGELOG.md",)
"""Pages that name files of earlier versions."""
NO_SETTINGS = {
    "RADIOVIS_SERVER", "NO_COLOR", "MAKE_", "FUZZ_SECONDS", "COMPOSE_PROFILES", "STATIONS_DIR", "API_SECRET",
    "PUBLISH_STOMP", "PUBLISH_STOMPS", "PUBLISH_HTTP", "PUBLISH_HTTPS", "CACHE_OPTS", "SO_REUSEPORT",
    "STATIC_URL", "CSRF_TRUSTED_ORIGINS",
}  # fmt: skip
"""Variables of other programs, and names of the operating system."""


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """What ``#…`` may follow a page's name: as GitHub makes them of headings, and those set by hand."""
    text = page.read_text()
    made = (re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in _HEADING.findall(text))
    return {*made, *_ANCHOR.findall(text)}


def codes(page: Path) -> Iterator[str]:
    """What stands in backticks."""
    yield from _CODE.findall(prose(page))


class Docs(unittest.TestCase):
    def assert_none(self, wrong: list[tuple[str, str]]) -> None:
        """:param wrong: pages, and what on them is not there."""
        self.assertEqual(sorted(set(wrong)), [])

    def test_every_link_leads_somewhere(self) -> None:
        self.assert_none([(page.name, link) for page in PAGES for link in _links(page) if not _leads(page, link)])

    def test_every_page_is_in_the_index(self) -> None:
        index = (ROOT / "docs" / "README.md").read_text()
        pages = [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "README.md"]
        self.assertEqual([name for name in pages if f"({name})" not in index], [])

    def test_every_path_exists(self) -> None:
        found = [
            (page.name, code) for page in OURS if page.name not in OF_OLD for code in codes(page) if _PATH.match(code)
        ]
        self.assertGreater(len(found), 60)
        self.assert_none([(page, path) for page, path in found if not (ROOT / path).exists()])

    def test_every_setting_exists(self) -> None:
        names = {*Settings.model_fields, *ArtcastSettings.model_fields}
        names |= {f"ARTCAST_{name}" for name in ArtcastSettings.model_fields} | {guest.SITE}
        gone = {*Settings.all_retired(), *Settings.all_old_names(), *ArtcastSettings.all_retired()}
        known = names | {f"{name}_FILE" for name in names} | NO_SETTINGS
        self.assert_none(
            [
                (page.name, name)
                for page in OURS
                for code in codes(page)
                for name in _SETTING.findall(code)
                if name not in known and not (page.name in GONE_ON and name in gone)
            ]
        )

    def test_every_metric_exists(self) -> None:
        listed = metrics_page()
        found = [(page.name, code) for page in OURS for code in codes(page) if _METRIC.match(code)]
        self.assertGreater(len(found), 10)
        self.assert_none([(page, code) for page, code in found if f"| `{code}` |" not in listed])

    def test_every_event_exists(self) -> None:
        source = "\n".join(file.read_text() for top in ("fanout", "radiovis") for file in (ROOT / top).rglob("*.py"))
        events = set(re.findall(r'"([a-z]+\.[a-z_]+)"', source))
        page = ROOT / "docs" / "production.md"
        named = [code for code in codes(page) if _EVENT.match(code) and not code.endswith((".py", ".md", ".toml"))]
        self.assertGreater(len(named), 10)
        self.assert_none([(page.name, code) for code in named if code not in events])

    def test_every_address_is_described(self) -> None:
        described = (ROOT / "docs" / "http.md").read_text()
        for page in OURS:
            if page.name in ("http.md", "web.md", "artcast.md", "writing-an-app.md", "CHANGELOG.md"):
                continue  # The first describes them, the others are about other programs, or older ones.
            found = [code for code in codes(page) if _ADDRESS.match(code)]
            self.assert_none([(page.name, code) for code in found if _first_part(code) not in described])

    def test_every_attack_was_measured(self) -> None:
        """In the page's rows; a name in a test may have parts in braces."""
        rows = re.findall(r"^\| (.+?) \| [\d.]+ MB", (ROOT / "docs" / "attacks.md").read_text(), re.MULTILINE)
        sources = (file.read_text() for file in (ROOT / "tests" / "attacks").glob("test_*.py"))
        names = {name for source in sources for name in _ATTACK.findall(source)}
        patterns = {name: re.compile(re.sub(r"\\{.*?\\}", ".+", re.escape(name))) for name in names}
        self.assertGreater(len(rows), 50)
        self.assertEqual([name for name, each in patterns.items() if not any(map(each.fullmatch, rows))], [])
        self.assertEqual([row for row in rows if not any(each.fullmatch(row) for each in patterns.values())], [])


def _links(page: Path) -> Iterator[str]:
    return (link for link in _LINK.findall(prose(page)) if "://" not in link)


def _leads(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def _first_part(address: str) -> str:
    """``/radiodns`` of ``GET /radiodns/vis/vis.json?topic=…``."""
    return re.split(r"(?<=\w)[/?…<]", address.removeprefix("GET ").removeprefix("POST "))[0]
