"""Pictures over HTTP."""

from __future__ import annotations

import http.client
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial import unittest

from fanout.doors.files import Pictures
from fanout.doors.gate import Gate
from fanout.doors.http import HttpLimits, HttpSite
from fanout.doors.http_endpoint import Branch

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


class TestSlides(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name) / "slides"
        self.folder.mkdir()
        (self.folder / "rock 1.png").write_bytes(PNG)
        (self.folder / "rock.jpg").write_bytes(b"\xff\xd8\xff")
        (self.folder / ".htpasswd").write_text("secret")
        (self.folder / "deeper").mkdir()
        (self.folder / "deeper" / "a.png").write_bytes(PNG)
        (self.folder / ".git").mkdir()
        (self.folder / ".git" / "config").write_text("secret")
        (self.folder.parent / "outside.png").write_text("secret")
        root = Branch()
        self.pictures = Pictures(str(self.folder))
        root.at("slides", self.pictures)
        site = HttpSite(reactor, root, Gate(), HttpLimits(), lambda *_, **__: None)
        self.port = reactor.listenTCP(0, site, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)

    def ask(self, path: str, method: str = "GET", **headers: str) -> Deferred[tuple[http.client.HTTPResponse, bytes]]:
        """One request, on a connection of its own."""
        return deferToThread(self._ask, path, method, headers)

    def _ask(self, path: str, method: str, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port.getHost().port, timeout=10)
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response, body

    async def test_symbolic_links_are_followed_only_where_that_is_wanted(self) -> None:
        (self.folder / "link.png").symlink_to(self.folder.parent / "outside.png")
        (self.folder / "linked").symlink_to(self.folder.parent)
        (self.folder / "deeper" / "b.png").symlink_to(self.folder / "rock 1.png")
        for links, status in ((False, 404), (True, 200)):
            self.pictures.links = links
            for path in ("/slides/link.png", "/slides/linked/outside.png", "/slides/deeper/b.png"):
                response, _ = await self.ask(path)
                self.assertEqual(response.status, status, path)

    async def test_a_picture_with_the_type_and_length_receivers_need(self) -> None:
        """HRadio wants a right Content-Length and image/png or image/jpeg (contract §4)."""
        for path, kind, size in (
            ("/slides/rock%201.png", "image/png", len(PNG)),
            ("/slides/rock.jpg", "image/jpeg", 3),
        ):
            response, body = await self.ask(path)
            self.assertEqual(response.status, 200)
            self.assertEqual(response.getheader("content-type"), kind)
            self.assertEqual(response.getheader("content-length"), str(size))
            self.assertEqual(len(body), size)

    async def test_web_players_of_other_sites_may_use_it_and_browsers_guess_no_type(self) -> None:
        response, _ = await self.ask("/slides/rock.jpg")
        self.assertEqual(response.getheader("access-control-allow-origin"), "*")
        self.assertEqual(response.getheader("x-content-type-options"), "nosniff")

    async def test_in_folders_too(self) -> None:
        response, body = await self.ask("/slides/deeper/a.png")
        self.assertEqual((response.status, body), (200, PNG))

    async def test_head_has_the_length_and_no_body(self) -> None:
        response, body = await self.ask("/slides/rock.jpg", "HEAD")
        self.assertEqual((response.status, response.getheader("content-length"), body), (200, "3", b""))

    async def test_a_part_and_an_unchanged_picture(self) -> None:
        response, body = await self.ask("/slides/rock%201.png", range="bytes=0-3")
        self.assertEqual((response.status, body), (206, PNG[:4]))
        since = (await self.ask("/slides/rock.jpg"))[0].getheader("last-modified")
        response, body = await self.ask("/slides/rock.jpg", if_modified_since=since)
        self.assertEqual((response.status, body), (304, b""))

    async def test_nothing_else(self) -> None:
        for path in (
            "/",
            "/slides",
            "/slides/",
            "/slides/deeper",
            "/slides/deeper/",
            "/slides/none.png",
            "/slides/.htpasswd",
            "/slides/%2ehtpasswd",
            "/slides/.git/config",
            "/slides/deeper/.git",
            "/slides/../outside.png",
            "/slides/%2e%2e/outside.png",
            "/slides/..%2foutside.png",
            "/slides/%2e%2e%2foutside.png",
            "/slides/deeper/../../outside.png",
            "/slides/%00",
            "/slides/rock.jpg%00.png",
            "/slides/%ff.png",
            "/etc/passwd",
        ):
            response, body = await self.ask(path)
            self.assertIn(response.status, (301, 302, 400, 404), path)
            self.assertNotIn(b"secret", body, path)
            for name in (b"rock.jpg", b"a.png"):
                self.assertNotIn(name, body, f"{path} lists the folder")

    async def test_no_other_methods(self) -> None:
        for method in ("PUT", "DELETE", "POST"):
            response, _ = await self.ask("/slides/rock.jpg", method)
            self.assertIn(response.status, (405, 501), method)
        self.assertTrue((self.folder / "rock.jpg").exists())

    async def test_head_is_get_without_the_picture(self) -> None:
        response, body = await self.ask("/slides/rock.jpg", "HEAD")
        got, picture = await self.ask("/slides/rock.jpg")
        self.assertEqual((response.status, body), (200, b""))
        for name in ("content-type", "content-length", "access-control-allow-origin"):
            self.assertEqual(response.getheader(name), got.getheader(name), name)
        self.assertEqual(response.getheader("content-length"), str(len(picture)))

    async def test_scripts_of_other_sites_are_told_what_they_may(self) -> None:
        response, body = await self.ask("/slides/rock.jpg", "OPTIONS")
        self.assertEqual((response.status, body), (204, b""))
        self.assertEqual(response.getheader("allow"), "GET, HEAD, OPTIONS")
        self.assertEqual(response.getheader("access-control-allow-origin"), "*")

    async def test_a_hundred_at_once(self) -> None:
        answers = await gatherResults([self.ask("/slides/rock%201.png") for _ in range(100)])
        self.assertEqual({body for _, body in answers}, {PNG})
