"""Uploads, over real sockets."""

from __future__ import annotations

import errno
import json
import os
import resource
import tempfile
import threading
from pathlib import Path
from unittest import mock

from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from fanout.http.files import Files
from fanout.http.routing import Route
from tests.fanout.http import served
from tests.web import Raw, basic
from webserver import uploads as uploads_module
from webserver.site_config import SiteLimits
from webserver.uploads import Uploads

HOST = b"host: x\r\n"


def form(*files: tuple[str, bytes], **fields: str) -> tuple[bytes, str]:
    """Body and type of a form as a browser sends it."""
    parts = [
        b'content-disposition: form-data; name="%b"\r\n\r\n%b' % (name.encode(), value.encode())
        for name, value in fields.items()
    ]
    parts += [
        b'content-disposition: form-data; name="f"; filename="%b"\r\ncontent-type: text/plain\r\n\r\n%b'
        % (name.encode(), content)
        for name, content in files
    ]
    body = b"".join(b"--limit\r\n" + part + b"\r\n" for part in parts) + b"--limit--\r\n"
    return body, "multipart/form-data; boundary=limit"


class UploadsCase(served.ServedCase):
    limits = SiteLimits(body_bytes=1_000_000, request_seconds=1)
    token = ""
    total = 1_000_000
    most = 100
    create_folders = False

    def rows(self) -> list[Route]:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name).resolve()
        left = self.folder / ".upload-left"
        left.write_bytes(b"by one who was killed")
        os.utime(left, (0, 0))
        (self.folder / "sub").mkdir()
        self.uploads = Uploads(
            reactor,
            self.folder,
            "/up",
            largest=200_000,
            total=self.total,
            most=self.most,
            create_folders=self.create_folders,
            token=self.token,
        )
        return [*self.uploads.routes(), *Files(self.folder, "/up").routes()]

    def write(self, folder: str, content: bytes) -> Path:
        """A file outside."""
        place = Path(folder, "secret")
        place.write_bytes(content)
        return place

    def found(self) -> dict[str, bytes]:
        """What lies in the folder, the hidden too."""
        files = [each for each in self.folder.rglob("*") if each.is_file()]
        return {str(each.relative_to(self.folder)): each.read_bytes() for each in files}


class Naming(UploadsCase):
    def test_what_another_process_is_writing_is_left_alone(self) -> None:
        (self.folder / ".upload-now").write_bytes(b"half")
        Uploads(reactor, self.folder, "/up")
        self.assertEqual(self.found(), {".upload-now": b"half"})

    async def test_put_and_delete(self) -> None:
        first = await self.ask("/up/a%20b.txt", "PUT", b"one")
        self.assertEqual((first.status, first.headers["location"]), (201, "/up/a%20b.txt"))
        self.assertEqual((await self.ask("/up/a%20b.txt", "PUT", b"two" * 50_000)).status, 204)
        self.assertEqual((await self.ask("/up/a%20b.txt")).body, b"two" * 50_000)
        self.assertEqual((await self.ask("/up/sub/x", "PUT", b"")).status, 201)
        self.assertEqual(self.found(), {"a b.txt": b"two" * 50_000, "sub/x": b""})
        self.assertEqual((await self.ask("/up/a%20b.txt", "DELETE")).status, 204)
        self.assertEqual((await self.ask("/up/a%20b.txt", "DELETE")).status, 404)
        self.assertEqual((await self.ask("/up/a%20b.txt")).status, 404)

    async def test_names_no_file_can_have(self) -> None:
        for path, status in (
            ("/up/.htaccess", 400),
            ("/up/.upload-x", 400),
            ("/up/..%2fx", 400),
            ("/up/%2e%2e/x", 400),
            ("/up/", 400),
            ("/up/x/", 400),
            ("/up/" + "x" * 256, 400),
            ("/up/.hidden/x", 400),
            ("/up/nowhere/x", 409),
            ("/up/sub", 409),
        ):
            self.assertEqual((await self.ask(path, "PUT", b"1")).status, status, path)
        self.assertEqual(self.found(), {})

    async def test_a_folder_that_does_not_exist(self) -> None:
        answer = await self.ask("/up/sub/a%20b/c/x", "PUT", b"1")
        self.assertEqual(answer.status, 409)
        self.assertIn(b"There is no folder /up/sub/a b, and uploads do not create folders.", answer.body)
        self.assertEqual((await self.ask("/up/x", "PUT", b"1")).status, 201)
        answer = await self.ask("/up/x/y/z", "PUT", b"1")
        self.assertEqual(answer.status, 409)
        self.assertIn(b"/up/x is a file, not a folder.", answer.body)
        self.assertEqual((await self.ask("/up/nowhere/x", "DELETE")).status, 404)
        self.assertEqual((await self.ask("/up/sub", "DELETE")).status, 409)
        self.assertEqual(self.found(), {"x": b"1"})

    async def test_it_is_refused_before_the_body_is_sent(self) -> None:
        raw = await self.whole(b"PUT /up/nowhere/x HTTP/1.1\r\ncontent-length: 100000\r\n" + HOST + b"\r\n")
        self.assertTrue(raw.startswith(b"HTTP/1.1 409 Conflict\r\n"), raw)

    async def test_nothing_is_deleted_that_was_not_uploaded(self) -> None:
        outside = tempfile.TemporaryDirectory()
        self.addCleanup(outside.cleanup)
        secret = self.write(outside.name, b"1")
        (self.folder / "folder").symlink_to(outside.name)
        (self.folder / "file").symlink_to(secret)
        (self.folder / ".hidden").write_bytes(b"1")
        for path in ("folder/secret", "file", "folder", ".hidden", "..", "../x", "%2e%2e/x", "sub/..%2f.hidden", ""):
            self.assertEqual((await self.ask(f"/up/{path}", "DELETE")).status, 400, path)
        self.assertEqual(self.found()["file"], b"1")
        self.assertEqual(sorted(each.name for each in self.folder.iterdir()), LEFT)

    async def test_no_way_out_through_a_link(self) -> None:
        outside = tempfile.TemporaryDirectory()
        self.addCleanup(outside.cleanup)
        (self.folder / "link").symlink_to(outside.name)
        secret = self.write(outside.name, b"old")
        (self.folder / "file").symlink_to(secret)
        for path in ("link/x", "link", "file"):
            self.assertEqual((await self.ask(f"/up/{path}", "PUT", b"1")).status, 400, path)
        self.assertEqual(self.found(), {"file": b"old"})
        self.assertEqual([each.name for each in os.scandir(outside.name)], ["secret"])

    async def test_a_page_of_another_site_sends_nothing(self) -> None:
        self.assertEqual((await self.ask("/up/x", "PUT", b"1", origin="http://elsewhere.example")).status, 403)
        body, kind = form(("x", b"1"))
        self.assertEqual((await self.ask("/up", "POST", body, content_type=kind, origin="null")).status, 403)
        self.assertEqual(self.found(), {})


LEFT = [".hidden", "file", "folder", "sub"]


class Folders(UploadsCase):
    create_folders = True
    most = 8

    async def test_they_are_made_for_a_file(self) -> None:
        answer = await self.ask("/up/a/b%20c/x.txt", "PUT", b"1")
        self.assertEqual((answer.status, answer.headers["location"]), (201, "/up/a/b%20c/x.txt"))
        self.assertEqual((await self.ask("/up/a/b%20c/x.txt", "PUT", b"2")).status, 204)
        self.assertEqual(self.found(), {"a/b c/x.txt": b"2"})

    async def test_not_by_any_name_nor_through_a_link_or_a_file(self) -> None:
        (self.folder / "link").symlink_to(self.folder / "sub")
        (self.folder / "file").write_bytes(b"1")
        for path, status in (
            ("a/.b/x", 400),
            ("a//x", 400),
            ("a%5cb/x", 400),
            ("a/../b/x", 400),
            ("x" * 256 + "/x", 400),
            ("a/" * 3_000 + "x", 400),
            ("link/b/x", 400),
            ("file/b/x", 409),
        ):
            self.assertEqual((await self.ask(f"/up/{path}", "PUT", b"1")).status, status, path[:20])
        self.assertEqual(sorted(each.name for each in self.folder.iterdir()), ["file", "link", "sub"])

    async def test_they_count_as_files(self) -> None:
        self.assertEqual((await self.ask("/up/1/2/3/4/5/6/7/x", "PUT", b"1")).status, 507)
        self.assertEqual(self.found(), {})
        self.assertEqual((await self.ask("/up/1/2/3/4/5/x", "PUT", b"1")).status, 201)
        self.assertEqual((await self.ask("/up/y/x", "PUT", b"1")).status, 507)
        self.assertEqual((await self.ask("/up/y", "PUT", b"1")).status, 201)
        self.assertEqual((await self.ask("/up/z", "PUT", b"1")).status, 507)

    async def test_an_empty_one_is_deleted_as_a_file_is(self) -> None:
        await self.ask("/up/a/x", "PUT", b"1")
        answer = await self.ask("/up/a", "DELETE")
        self.assertEqual((answer.status, b"This folder is not empty." in answer.body), (409, True))
        for path in ("a/x", "a", "sub"):
            self.assertEqual((await self.ask(f"/up/{path}", "DELETE")).status, 204)
        self.assertEqual(list(self.folder.iterdir()), [])


class Disk(UploadsCase):
    """The server's own disk. The limit of a file's size stands for a disk that is full: both are errors of a write."""

    async def no_room(self, path: str, method: str, octets: int, **headers: str) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        try:
            body = b"x" * octets
            if method == "POST":
                body, headers["content_type"] = form(("x", body))
            answer = await self.ask(path, method, body, **headers)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        self.assertEqual((answer.status, b"no room" in answer.body), (507, True))
        self.assertEqual(self.found(), {})

    async def test_there_is_no_room_for_the_file(self) -> None:
        for method in ("PUT", "POST"):
            with self.assertLogs("webserver.uploads", "ERROR"):
                await self.no_room("/up" if method == "POST" else "/up/x", method, 50_000)
        self.assertEqual((await self.ask("/up/x", "PUT", b"x" * 50_000)).status, 201)

    async def test_there_is_no_room_for_the_body_while_it_comes(self) -> None:
        with self.assertLogs("fanout.http.http_server", "ERROR"):
            await self.no_room("/up/x", "PUT", 150_000)
        self.assertEqual((await self.ask("/up/x", "PUT", b"x" * 150_000)).status, 201)

    async def test_a_folder_that_the_server_may_not_write_to(self) -> None:
        with mock.patch("tempfile.mkstemp", side_effect=PermissionError):  # the tests may be root's, who may
            self.assertEqual((await self.ask("/up/x", "PUT", b"1")).status, 403)
        with mock.patch("pathlib.Path.replace", side_effect=OSError(errno.EROFS, "read-only")):
            self.assertEqual((await self.ask("/up/x", "PUT", b"1")).status, 403)
        self.assertEqual(self.found(), {})


class Posting(UploadsCase):
    async def test_a_form(self) -> None:
        body, kind = form(("one.txt", b"1"), ("C:\\dir\\two.txt", b"2" * 150_000), comment="hello")
        answer = await self.ask("/up", "POST", body, content_type=kind)
        self.assertEqual((answer.status, answer.json), (201, {"files": ["/up/one.txt", "/up/two.txt"]}))
        self.assertEqual(self.found(), {"one.txt": b"1", "two.txt": b"2" * 150_000})

    async def test_a_form_is_taken_whole_or_not(self) -> None:
        (self.folder / "taken").write_bytes(b"old")
        for files, status in (
            ((("new", b"1"), ("taken", b"2")), 409),
            ((("new", b"1"), ("new", b"2")), 409),
            ((("new", b"1"), ("..", b"2")), 400),
            ((("new", b"1"), (".hidden", b"2")), 400),
            ((("new", b"1"), ("large", b"2" * 200_001)), 413),
            ((), 400),
        ):
            body, kind = form(*files)
            self.assertEqual((await self.ask("/up", "POST", body, content_type=kind)).status, status, files)
            self.assertEqual(self.found(), {"taken": b"old"})

    async def test_forms_that_are_none(self) -> None:
        body, kind = form(("x", b"1"))
        for data, given in (
            (body[:-20], kind),
            (b"", kind),
            (b"nonsense", kind),
            (body, "multipart/form-data"),
            (body, "multipart/form-data; boundary=other"),
            (form(*((f"f{number}", b"") for number in range(70)))[0], kind),
        ):
            self.assertEqual((await self.ask("/up", "POST", data, content_type=given)).status, 400, data[:60])
            self.assertEqual(self.found(), {})

    async def test_a_body_gets_a_name(self) -> None:
        answer = await self.ask("/up", "POST", b"{}", content_type="application/json")
        self.assertEqual(answer.status, 201)
        self.assertRegex(answer.headers["location"], r"^/up/[0-9a-f]{16}\.json$")
        self.assertEqual((await self.ask(answer.headers["location"])).body, b"{}")
        self.assertEqual(json.loads(answer.body)["files"], [answer.headers["location"]])


class Halves(UploadsCase):
    async def test_uploads_that_stop_halfway_leave_nothing(self) -> None:
        body, kind = form(("x", b"1" * 1_000))
        for head in (
            b"PUT /up/x HTTP/1.1\r\ncontent-length: 100000\r\n" + HOST + b"\r\n",
            b"PUT /up/x HTTP/1.1\r\ntransfer-encoding: chunked\r\n" + HOST + b"\r\n5\r\nabcde\r\nff\r\n",
            b"POST /up HTTP/1.1\r\ncontent-length: 100000\r\ncontent-type: %b\r\n" % kind.encode()
            + HOST
            + b"\r\n"
            + body,
        ):
            raw = Raw(self.address, head + b"half of it")
            raw.half_close()
            self.assertFalse(b" 20" in await self.talk(lambda _, raw=raw: raw.to_the_end()))  # type: ignore[misc]
            raw.close()
        await self.assert_lives()
        self.assertEqual(self.found(), {})

    async def test_too_large(self) -> None:
        self.assertEqual((await self.ask("/up/x", "PUT", b"x" * 200_001)).status, 413)
        self.assertEqual((await self.ask("/up", "POST", b"x" * 200_001)).status, 413)
        raw = await self.whole(b"PUT /up/x HTTP/1.1\r\ncontent-length: 1000001\r\n" + HOST + b"\r\n")
        self.assertTrue(raw.startswith(b"HTTP/1.1 413 "), raw)
        self.assertEqual(self.found(), {})

    async def test_a_disk_that_is_full(self) -> None:
        (self.folder / "x").write_bytes(b"old")
        full = mock.patch.object(uploads_module.os, "fsync", side_effect=OSError(28, "No space left"))
        with full, self.assertLogs("webserver.uploads", "ERROR"):
            self.assertEqual((await self.ask("/up/x", "PUT", b"new")).status, 507)
        self.assertEqual(self.found(), {"x": b"old"})


class Guarded(UploadsCase):
    token = "s3cret-token"

    async def test_only_who_knows_the_token(self) -> None:
        for method, path in (("PUT", "/up/x"), ("POST", "/up"), ("DELETE", "/up/x")):
            self.assertEqual((await self.ask(path, method, b"1")).status, 401, method)
            self.assertEqual((await self.ask(path, method, b"1", authorization=basic("x", "no"))).status, 401)
        self.assertEqual((await self.ask("/up/x", "PUT", b"1", authorization="Bearer s3cret-token")).status, 201)


class Room(UploadsCase):
    """A folder that holds 250,000 octets in four files."""

    total = 250_000
    most = 4

    async def put(self, name: str, octets: int) -> int:
        return (await self.ask(f"/up/{name}", "PUT", b"x" * octets)).status

    async def test_all_files_together_have_a_limit(self) -> None:
        (self.folder / "sub" / "theirs").write_bytes(b"x" * 100_000)
        self.assertEqual(await self.put("a", 100_000), 201)
        self.assertEqual(await self.put("b", 50_001), 507)
        self.assertEqual(await self.put("b", 50_000), 201)
        self.assertEqual((await self.ask("/up", "POST", b"x")).status, 507)
        self.assertEqual(
            {name: len(data) for name, data in self.found().items()}, {"sub/theirs": 100_000, "a": 100_000, "b": 50_000}
        )

    async def test_what_is_deleted_makes_room(self) -> None:
        self.assertEqual([await self.put("a", 150_000), await self.put("b", 150_000)], [201, 507])
        (self.folder / "a").unlink()
        self.assertEqual([await self.put("b", 150_000), await self.put("c", 100_001)], [201, 507])
        await self.ask("/up/b", "DELETE")
        self.assertEqual(await self.put("c", 100_001), 201)

    async def test_many_that_are_empty(self) -> None:
        self.assertEqual([await self.put(str(number), 0) for number in range(5)], [201, 201, 201, 201, 507])
        self.assertEqual(sorted(self.found()), ["0", "1", "2", "3"])

    async def test_what_is_replaced_takes_room_until_it_is(self) -> None:
        self.assertEqual([await self.put("a", 125_000) for _ in range(3)], [201, 204, 204])
        self.assertEqual(await self.put("a", 125_001), 507)
        self.assertEqual(self.found(), {"a": b"x" * 125_000})

    async def test_a_form_for_which_there_is_no_room_leaves_nothing(self) -> None:
        body, kind = form(("a", b"x" * 150_000), ("b", b"x" * 150_000))
        answer = await self.ask("/up", "POST", body, content_type=kind)
        self.assertEqual(answer.status, 507)
        self.assertIn(b"has no room for this file; delete other files first", answer.body)
        self.assertEqual(self.found(), {})

    async def test_what_is_being_written_counts(self) -> None:
        reached, may_end, flush = threading.Event(), threading.Event(), os.fsync

        def held(descriptor: int) -> None:
            reached.set()
            may_end.wait(20)
            flush(descriptor)

        with mock.patch.object(uploads_module.os, "fsync", held):
            first = self.ask("/up/first", "PUT", b"x" * 150_000)
            self.assertTrue(await deferToThread(reached.wait, 20))
            self.assertEqual(await self.put("second", 150_000), 507)
            may_end.set()
            self.assertEqual((await first).status, 201)
        self.assertEqual(sorted(self.found()), ["first"])
