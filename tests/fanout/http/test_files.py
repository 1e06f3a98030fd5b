"""Files of a folder, over real sockets."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from fanout.http.files import Files, Folder
from fanout.http.routing import Route
from tests.fanout.http import served

OCTETS = bytes(range(256)) * 400


class FilesCase(served.ServedCase):
    def rows(self) -> list[Route]:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name).resolve() / "site"
        for name, content in (
            ("index.html", b"<p>start"),
            ("a b.bin", OCTETS),
            ("style.css", b"p {}"),
            ("code.py", b"pass"),
            ("archive.tar.gz", b"\x1f\x8b"),
            ("strange.xyzzy", b"?"),
            ("deeper/index.html", b"<p>deeper"),
            ("bare/<one>.txt", b"1"),
            ("bare/.hidden", b"secret"),
            (".git/config", b"secret"),
            (".well-known/acme", b"token"),
            ("../outside.txt", b"secret"),
            ("../site-too/x.txt", b"secret"),
        ):
            place = self.folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        (self.folder / "link.txt").symlink_to("../outside.txt")
        (self.folder / "inner.txt").symlink_to("style.css")
        (self.folder / "linked").symlink_to("../site-too")
        (self.folder / "circle").symlink_to("circle")
        os.mkfifo(self.folder / "pipe")
        self.switch("site")
        return [
            *Files(self.folder.parent / "current", "/current", listing=True).routes(),
            *Files(self.folder, "/listed", listing=True).routes(),
            *Files(self.folder, "/linked", symlinks=True, public=True, untrusted=True).routes(),
            *Files(self.folder).routes(),
        ]

    def switch(self, target: str) -> None:
        """Make ``current`` lead there, at once, as careful people do."""
        new = self.folder.parent / "new"
        new.symlink_to(target)
        new.replace(self.folder.parent / "current")


class OddRequests(FilesCase):
    """Headers that Twisted's server of files cannot read, or for which it would send more than the file."""

    async def test_entity_tags(self) -> None:
        """RFC 9110, 13.1.2: tags are compared weakly, ``*`` is any, and a date beside them does not count."""
        found = await self.ask("/style.css")
        tag, modified = found.headers["etag"], found.headers["last-modified"]
        self.assertRegex(tag, r'^"[0-9a-f]+-[0-9a-f]+"$')
        for known in (tag, f"W/{tag}", f'"other", {tag}', f'"other",W/{tag}', "*"):
            answer = await self.ask("/style.css", if_none_match=known)
            self.assertEqual((answer.status, answer.body, answer.headers["etag"]), (304, b"", tag), known)
            self.assertNotIn("content-length", answer.headers)  # RFC 9110, 8.6
        for other in ('"other"', f'"{tag}"', "nonsense", '"', "", f'{tag[:-1]}x"'):
            answer = await self.ask("/style.css", if_none_match=other, if_modified_since=modified)
            self.assertEqual((answer.status, answer.body), (200, found.body), other)
        head = await self.ask("/style.css", "HEAD", if_none_match=tag)
        self.assertEqual((head.status, head.headers["etag"]), (304, tag))

    async def test_another_tag_after_each_change_also_within_a_second(self) -> None:
        path = self.folder / "style.css"
        tags = set()
        for number, body in enumerate(("body {}", "BODY {}", "body{}")):
            path.write_text(body)
            os.utime(path, ns=(0, 1_700_000_000_000_000_000 + min(number, 1) * 1_000_000))
            answer = await self.ask("/style.css", if_none_match=", ".join(tags) or '"none"')
            self.assertEqual((answer.status, answer.body), (200, body.encode()))
            tags.add(answer.headers["etag"])
        self.assertEqual(len(tags), 3)

    async def test_a_part_of_the_file_with_this_tag(self) -> None:
        tag = (await self.ask("/a%20b.bin")).headers["etag"]
        for condition, status in ((tag, 206), ('"other"', 200), (f"W/{tag}", 200)):
            answer = await self.ask("/a%20b.bin", range="bytes=0-3", if_range=condition)
            self.assertEqual(answer.status, status, condition)

    async def test_ranges(self) -> None:
        octets = len(OCTETS)
        for wanted, status, length in (
            ("bytes=0-1,5-8", 206, None),
            ("bytes=0-,0-,0-", 200, octets),  # the file three times
            ("bytes=0-,-1", 200, octets),
            (f"bytes={octets}-,{octets}-", 200, octets),  # several, and none of them is in the file
            (f"bytes={octets}-", 416, 0),
            (f"bytes=-{'9' * 4_000},0-1,5-", 200, octets),
            (f"bytes={'1' * 5_000}-", 200, octets),
        ):
            answer = await self.ask("/a%20b.bin", range=wanted)
            self.assertEqual(answer.status, status, wanted[:40])
            if length is not None:
                self.assertEqual(len(answer.body), length, wanted[:40])

    async def test_dates_that_are_none(self) -> None:
        for date in (";", "Sun, a Jan a a a", "9" * 5_000, "-", "a-b c"):
            answer = await self.ask("/style.css", if_modified_since=date)
            self.assertEqual((answer.status, answer.body), (200, b"p {}"), date[:40])

    async def test_addresses_that_are_none(self) -> None:
        said = await self.whole(b"GET http://[ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        self.assertTrue(said.startswith(b"HTTP/1.1 400 "), said)


class Serving(FilesCase):
    async def test_types(self) -> None:
        for name, kind in (
            ("/", "text/html; charset=utf-8"),
            ("/style.css", "text/css; charset=utf-8"),
            ("/code.py", "text/plain; charset=utf-8"),
            ("/archive.tar.gz", "application/gzip"),
            ("/strange.xyzzy", "application/octet-stream"),
        ):
            answer = await self.ask(name)
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, kind), name)
            self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
            self.assertNotIn("content-encoding", answer.headers)

    async def test_whole_files(self) -> None:
        answer = await self.ask("/a%20b.bin")
        self.assertEqual((answer.body, answer.headers["content-length"]), (OCTETS, str(len(OCTETS))))
        answer = await self.ask("/a%20b.bin", "HEAD")
        self.assertEqual((answer.status, answer.headers["content-length"], answer.body), (200, str(len(OCTETS)), b""))
        self.assertEqual((await self.ask("/.well-known/acme")).body, b"token")
        self.assertEqual((await self.ask("/style.css", "PUT", b"")).status, 405)

    async def test_folders(self) -> None:
        self.assertEqual((await self.ask("/deeper/")).body, b"<p>deeper")
        for path, location in (("/deeper", "/deeper/"), ("/deeper?q=1", "/deeper/?q=1"), ("/listed", "/listed/")):
            answer = await self.ask(path)
            self.assertEqual((answer.status, answer.headers["location"]), (301, location))
        self.assertEqual((await self.ask("/bare/")).status, 404)
        page = (await self.ask("/listed/bare/")).body
        self.assertIn(b'<a href="./%3Cone%3E.txt">&lt;one&gt;.txt</a>', page)
        self.assertNotIn(b"hidden", page.partition(b"<main")[2])
        self.assertEqual((await self.ask("/listed/")).body, b"<p>start")

    async def test_a_redirect_leads_to_no_other_site(self) -> None:
        (self.folder / "evil.example").mkdir()
        answer = await self.ask("//evil.example")
        self.assertEqual(answer.status, 404)
        answer = await self.ask("/evil.example")
        self.assertEqual(answer.headers["location"], "/evil.example/")

    async def test_unchanged_since(self) -> None:
        modified = (await self.ask("/style.css")).headers["last-modified"]
        answer = await self.ask("/style.css", if_modified_since=modified)
        self.assertEqual((answer.status, answer.body), (304, b""))
        self.assertNotIn("content-length", answer.headers)
        for since in ("Mon, 01 Jan 2001 00:00:00 GMT", "nonsense"):
            self.assertEqual((await self.ask("/style.css", if_modified_since=since)).status, 200, since)

    async def test_ranges(self) -> None:
        whole = len(OCTETS)
        for wanted, first, last in (
            ("bytes=0-3", 0, 3),
            ("bytes=300-", 300, whole - 1),
            ("bytes=-5", whole - 5, whole - 1),
            (f"bytes=5-{whole + 100}", 5, whole - 1),
        ):
            answer = await self.ask("/a%20b.bin", range=wanted)
            self.assertEqual((answer.status, answer.body), (206, OCTETS[first : last + 1]), wanted)
            self.assertEqual(answer.headers["content-range"], f"bytes {first}-{last}/{whole}")
        answer = await self.ask("/a%20b.bin", range="bytes=0-1,10-11")
        self.assertEqual(answer.status, 206)
        self.assertIn("multipart/byteranges", answer.headers["content-type"])

    async def test_ranges_that_are_not_there(self) -> None:
        answer = await self.ask("/a%20b.bin", range=f"bytes={len(OCTETS)}-")
        self.assertEqual((answer.status, answer.headers["content-range"]), (416, f"bytes */{len(OCTETS)}"))

    async def test_what_is_no_range_is_none(self) -> None:
        """RFC 9110, 14.2: the client gets all of it. Many ranges would make one request many files."""
        many = "bytes=" + ",".join(["0-"] * 11)
        for wanted in ("bytes=", "bytes=5-2", "bytes=x-y", "lines=1-2", "bytes=0-1;2-3", "\xff", "bytes=--1", many):
            answer = await self.ask("/a%20b.bin", range=wanted)
            self.assertEqual((answer.status, len(answer.body)), (200, len(OCTETS)), wanted)

    async def test_a_range_of_a_file_that_has_changed(self) -> None:
        modified = (await self.ask("/a%20b.bin")).headers["last-modified"]
        answer = await self.ask("/a%20b.bin", range="bytes=0-3", if_range=modified)
        self.assertEqual(answer.status, 206)
        answer = await self.ask("/a%20b.bin", range="bytes=0-3", if_range="Mon, 01 Jan 2001 00:00:00 GMT")
        self.assertEqual((answer.status, len(answer.body)), (200, len(OCTETS)))

    async def test_for_others(self) -> None:
        answer = await self.ask("/linked/style.css")
        self.assertEqual(answer.headers["access-control-allow-origin"], "*")
        self.assertIn("sandbox", answer.headers["content-security-policy"])
        self.assertNotIn("access-control-allow-origin", (await self.ask("/style.css")).headers)


class Escaping(FilesCase):
    async def test_what_is_not_there_for_anybody(self) -> None:
        for path in (
            "/nowhere",
            "/.git/config",
            "/bare/.hidden",
            "/style.css/",
            "/style.css/x",
            "/deeper//index.html",
            "/pipe",
            "/circle",
            "/" + "x" * 300,
            "/" + "x/" * 3_000,
            "/%252e%252e/outside.txt",
            "/site-too/x.txt",
            "//etc/passwd",
            "/%2fetc/passwd",
        ):
            answer = await self.ask(path)
            self.assertEqual(answer.status, 404, path)
            self.assertNotIn(b"secret", answer.body)

    async def test_no_way_out(self) -> None:
        for way in (
            "..",
            "%2e%2e",
            ".%2E",
            "..%2f",
            "%2e%2e%2f",
            "..%5c",
            "deeper/..",
            "deeper%2f..",
            ".",
            "%00",
            "%ff",
        ):
            for path in (f"/{way}/outside.txt", f"/listed/{way}/outside.txt", f"/deeper/{way}/{way}/outside.txt"):
                answer = await self.ask(path)
                self.assertIn(answer.status, (400, 404), path)
                self.assertNotIn(b"secret", answer.body)

    async def test_links_are_followed_where_that_is_wanted(self) -> None:
        for name, body in (("link.txt", b"secret"), ("inner.txt", b"p {}"), ("linked/x.txt", b"secret")):
            self.assertEqual((await self.ask(f"/{name}")).status, 404, name)
            self.assertEqual((await self.ask(f"/linked/{name}")).body, body, name)

    async def test_a_folder_that_is_a_link_may_be_switched(self) -> None:
        another = self.folder.parent / "site-too"
        (another / "astray.css").symlink_to("../site/style.css")
        self.assertEqual((await self.ask("/current/style.css")).body, b"p {}")
        self.switch("site-too")
        self.assertEqual((await self.ask("/current/x.txt")).body, b"secret")
        self.assertIn(b"x.txt", (await self.ask("/current/")).body)
        for path in ("style.css", "astray.css", "../site/style.css", "%2e%2e/site/style.css", "..%2fsite%2fstyle.css"):
            self.assertIn((await self.ask(f"/current/{path}")).status, (400, 404), path)

    async def test_a_link_that_leads_nowhere_for_a_moment(self) -> None:
        for nowhere in ("nowhere", "current", "site/style.css"):
            self.switch(nowhere)
            self.assertEqual((await self.ask("/current/style.css")).status, 404, nowhere)
        self.switch("site")
        self.assertEqual((await self.ask("/current/style.css")).status, 200)

    def test_a_folder_that_is_none(self) -> None:
        with self.assertRaises(NotADirectoryError):
            Folder(self.folder / "style.css")
