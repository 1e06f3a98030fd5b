from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial import unittest

from fanout.http.accept import choose, parse
from fanout.http.response import HttpError

OFFERED = ("text/plain; charset=utf-8", "application/json", "text/html")
NAMES = ["text", "application", "image", "*"]
RANGES = st.builds(
    lambda kind, sub, q: (f"{kind}/{sub}", q),
    st.sampled_from(NAMES),
    st.sampled_from(["html", "json", "*"]),
    st.integers(0, 1000),
)


class Choosing(unittest.TestCase):
    def check(self, accept: str | None, chosen: str | None) -> None:
        if chosen is None:
            with self.assertRaises(HttpError, msg=accept) as caught:
                choose(accept, OFFERED)
            self.assertEqual(caught.exception.status, 406)
        else:
            self.assertEqual(choose(accept, OFFERED).partition(";")[0], chosen, accept)

    def test_the_highest_weight_and_then_our_order(self) -> None:
        for accept, chosen in (
            (None, "text/plain"),
            ("", "text/plain"),
            ("*/*", "text/plain"),
            ("application/json", "application/json"),
            ("text/html, application/json", "application/json"),
            ("text/html;q=0.9, application/json;q=0.8", "text/html"),
            ("text/html;q=0.5,*/*;q=0.1", "text/html"),
            ("text/*", "text/plain"),
            ("text/*;q=0.5, text/html", "text/html"),
            ("TEXT/HTML", "text/html"),
            ("text/html ; q=0.3 ,\tapplication/json ; q=0.4", "application/json"),
            ("image/png, */*;q=0.2", "text/plain"),
            ('text/html;title="a, b;q=0", application/json;q=0.1', "application/json"),
            ("text/plain;charset=utf-8", "text/plain"),
            (", ,text/html,,", "text/html"),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8", "text/html"),
            ("application/json;q=1.000;ext=1", "application/json"),
        ):
            self.check(accept, chosen)

    def test_the_most_precise_range_counts(self) -> None:
        self.check("*/*, text/plain;q=0", "application/json")
        self.check("text/*;q=0, */*;q=0.1", "application/json")
        self.check("application/json;q=0, text/plain;q=0, text/html;q=0, */*", None)

    def test_nonsense_and_what_we_have_not(self) -> None:
        for accept in (
            "nonsense",
            "image/png",
            "text/html;q=0",
            "text/html;q=2",
            "text/html;q=x",
            "text/html;q=0.1234",
            "*/html",
            "text/",
            "/html",
            "text/html html",
            ";;;",
            '"text/html"',
            'text/html;a="',
            "\x00\xff",
        ):
            self.check(accept, None)

    @given(st.text())
    def test_anything_is_understood_or_refused(self, accept: str) -> None:
        parse(accept)
        try:
            self.assertIn(choose(accept, OFFERED), OFFERED)
        except HttpError as error:
            self.assertEqual(error.status, 406)

    @given(st.lists(RANGES, min_size=1, unique_by=lambda each: each[0]))
    def test_as_the_rule_says(self, ranges: list[tuple[str, int]]) -> None:
        """RFC 9110, 12.5.1, once more and slowly: by name, by kind, by anything."""
        weights = {name: q for name, q in ranges if not (name.startswith("*") and name != "*/*")}
        accept = ", ".join(f"{name};q={q / 1000:.3f}" for name, q in ranges)
        plain = [each.partition(";")[0] for each in OFFERED]
        wanted = [weights.get(each, weights.get(each.split("/")[0] + "/*", weights.get("*/*", 0))) for each in plain]
        self.check(accept, plain[wanted.index(max(wanted))] if max(wanted) else None)
