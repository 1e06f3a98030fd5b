"""The public site's table, and the pictures it serves."""

from __future__ import annotations

import http.client
import os
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from fanout.http.dispatch import Dispatcher
from fanout.http.http_server import HttpSite
from fanout.listeners.client_limits import ConnectionLimit
from fanout.settings import SettingsError
from radiovis.http.routes import PublicSite
from radiovis.settings import Settings
from tests.radiovis.http.site import SiteCase

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))


class SlidesCase(SiteCase):
    links = False

    def setUp(self) -> None:
        super().setUp()
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
        settings = Settings(SLIDES_DIR=str(self.folder), SLIDES_LINKS=self.links)
        dispatcher = Dispatcher(PublicSite(self.house.requests, settings, self.wall, {}).routes)
        site = HttpSite(reactor, dispatcher, ConnectionLimit(), settings, lambda *_, **__: None)
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

    async def assert_links_are(self, status: int) -> None:
        (self.folder / "link.png").symlink_to(self.folder.parent / "outside.png")
        (self.folder / "linked").symlink_to(self.folder.parent)
        (self.folder / "deeper" / "b.png").symlink_to(self.folder / "rock 1.png")
        for path in ("/slides/link.png", "/slides/linked/outside.png", "/slides/deeper/b.png"):
            response, _ = await self.ask(path)
            self.assertEqual(response.status, status, path)


class TestSlides(SlidesCase):
    async def test_symbolic_links_are_not_followed(self) -> None:
        await self.assert_links_are(404)

    async def test_the_folder_may_be_a_link_that_is_switched(self) -> None:
        old = self.folder.rename(self.folder.with_name("old"))
        self.folder.symlink_to(old)
        self.assertEqual((await self.ask("/slides/rock.jpg"))[0].status, 200)
        new = self.folder.with_name("new")
        new.mkdir()
        (new / "new.png").write_bytes(PNG)
        (new / "link.png").symlink_to(old / "rock.jpg")
        self.folder.unlink()
        self.folder.symlink_to(new)
        self.assertEqual((await self.ask("/slides/new.png"))[1], PNG)
        for path in ("/slides/rock.jpg", "/slides/link.png"):
            self.assertEqual((await self.ask(path))[0].status, 404, path)

    async def test_a_folder_that_is_not_there(self) -> None:
        settings = Settings(SLIDES_DIR=str(self.folder / "nowhere"))
        with self.assertRaisesRegex(SettingsError, "SLIDES_DIR: .*nowhere is not a folder"):
            PublicSite(self.house.requests, settings, self.wall, {})

    async def test_the_pages_own_files_are_looked_at_again_each_time(self) -> None:
        response, _ = await self.ask("/static/wall.js")
        self.assertEqual((response.status, response.getheader("cache-control")), (200, "no-cache"))
        response, _ = await self.ask("/slides/rock.jpg")
        self.assertEqual((response.status, response.getheader("cache-control")), (200, None))

    async def test_a_browser_runs_nothing_of_them(self) -> None:
        (self.folder / "evil.svg").write_text("<svg onload='alert(1)'/>")
        response, _ = await self.ask("/slides/evil.svg")
        self.assertIn("default-src 'none'", response.getheader("content-security-policy") or "")
        self.assertEqual(response.getheader("x-frame-options"), "DENY")

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

    async def test_a_slide_has_a_tag_and_is_not_sent_twice(self) -> None:
        """Also through a link, to the folder, that was switched: the date may be older then."""
        first, _ = await self.ask("/slides/rock.jpg")
        tag = first.getheader("etag") or ""
        response, body = await self.ask("/slides/rock.jpg", if_none_match=tag)
        self.assertEqual((response.status, body, response.getheader("etag")), (304, b"", tag))
        self.assertEqual(response.getheader("access-control-allow-origin"), "*")
        (self.folder / "rock.jpg").write_bytes(PNG)
        os.utime(self.folder / "rock.jpg", (0, 0))
        response, body = await self.ask("/slides/rock.jpg", if_none_match=tag)
        self.assertEqual((response.status, body), (200, PNG))

    async def test_nothing_else(self) -> None:
        for path in (
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


class TestLinkedSlides(SlidesCase):
    links = True

    async def test_they_are_followed_where_that_is_wanted(self) -> None:
        await self.assert_links_are(200)
