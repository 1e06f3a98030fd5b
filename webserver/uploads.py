"""Uploads: a folder in which clients may create, replace and delete files.

========== ================= =====================================================================
``POST``   ``/uploads``      a form with files (multipart/form-data), each with its own name; or one
                             file as the body, for which the server chooses a name. 201; 409 if a
                             file of this name exists
``PUT``    ``/uploads/NAME`` the body is the file: 201 for a new file, 204 for a replaced one. If its
                             folder is missing, the folder is created or the answer is 409
``DELETE`` ``/uploads/NAME`` 204, or 404 if there is no such file. It also removes an empty folder if
                             clients may create folders
========== ================= =====================================================================

A file is written under a temporary name in the folder, and gets its own name when it is complete. So clients never see
incomplete files. A limit applies to all files of the folder together: a file above it gets a 507 and is not stored.
"""

from __future__ import annotations

import contextlib
import errno
import mimetypes
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import IO, Any
from urllib.parse import quote, unquote

import structlog
from multipart import MultipartError, MultipartParser, parse_options_header
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from fanout.http.auth import OperatorAuth, check_same_site
from fanout.http.files import Folder, is_name
from fanout.http.pages import HEADERS, listing, row
from fanout.http.response import HTML, JSON, NO_CONTENT, HttpError, Response
from fanout.http.routing import Request, Route
from fanout.http.topic_resources import choose

log = structlog.get_logger(__name__)

_UNFINISHED = ".upload-"  # prefix of temporary names; a client cannot choose hidden names
_VARY = ("vary", "Accept")
_ABANDONED = 3600  # seconds; another process may still be writing a younger temporary file
_PARTS = 64  # limit of the parts of one form: files and other fields
_DIGITS = 20  # digits of a Content-Length that are parsed; a longer number is too large in any case
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # EFBIG: also above RLIMIT_FSIZE of this process


class Uploads:
    """Handlers for an upload folder. Routes of :class:`~fanout.http.files.Files` after these let clients read it."""

    def __init__(
        self,
        reactor: Any,
        folder: str | Path,
        at: str = "/uploads",
        *,
        largest: int = 16_777_216,
        total: int = 1_073_741_824,
        most: int = 10_000,
        create_folders: bool = False,
        listing: bool = False,
        token: str = "",
    ) -> None:
        """
        :param reactor: Twisted's reactor.
        :param folder: the path of the folder on disk.
        :param at: the URL path of the folder.
        :param largest: octets of the largest file; the listener's limit of a body applies as well.
        :param total: limit of the octets of all files together, including files from other programs.
        :param most: limit of the number of files, because many small ones can fill a disk as well. Each upload counts
            all of them.
        :param create_folders: whether a PUT creates the folders of its path; folders then count as files.
        :param listing: whether a browser is redirected to the list of the folder after it has sent a form.
        :param token: the token that clients need, as a Bearer token or as the password of HTTP Basic; empty if they
            need none.
        :raises NotADirectoryError: there is no such folder.
        """
        self._reactor = reactor
        self._folder = Folder(folder)
        self._at = at
        self._largest = largest
        self._total = total
        self._most = most
        self._create_folders = create_folders
        self._listing = listing
        self._counting = threading.Lock()  # held while files are counted or renamed
        self._auth = OperatorAuth(token, "uploads") if token else None
        for left in self._folder.root.glob(_UNFINISHED + "*"):
            if time.time() - left.stat().st_mtime > _ABANDONED:
                left.unlink()

    def routes(self) -> list[Route]:
        """The rows of the table."""
        one = Route(f"{self._at}/{{path:path}}", before=self._before, PUT=self.put, DELETE=self.delete)
        return [Route(self._at, before=self._before, POST=self.post), one]

    async def put(self, request: Request) -> Response:
        """Store the body as this file."""
        self._check(request)
        place = self._place(request.parameters["path"])
        new = await self._in_thread(lambda: self._replace(place, request.body))
        return Response(status=201, headers=(("location", self._address(place)),)) if new else NO_CONTENT

    async def delete(self, request: Request) -> Response:
        """Delete a file."""
        self._check(request)
        place = self._find(request.parameters["path"])
        await self._in_thread(lambda: self._remove(place))
        return NO_CONTENT

    async def post(self, request: Request) -> Response:
        """Store the files of a form, or the body as one file."""
        self._check(request)
        kind, options = parse_options_header(request.header("content-type") or "")
        if kind == "multipart/form-data":
            if "boundary" not in options:
                raise HttpError(400, "The Content-Type of a form must contain its boundary.")
            places = await self._in_thread(lambda: self._take_form(request.body, options["boundary"]))
        else:
            place = self._folder.root / (token_hex(8) + (mimetypes.guess_extension(kind) or ".bin"))
            await self._in_thread(lambda: self._add(place, request.body))
            places = [place]
        addresses = [self._address(place) for place in places]
        if _wants_page(request):
            return self._to_a_browser(addresses)
        return Response.json({"files": addresses}, 201, (("location", addresses[0]), _VARY))

    def _to_a_browser(self, addresses: list[str]) -> Response:
        """The answer to a form in a browser: a redirection to the list of the folder, or a page with its files."""
        if self._listing:
            return Response.redirect(f"{self._at}/", 303)
        rows = (row(address, unquote(address)) for address in addresses)
        text = "".join(listing("Uploaded", ("File",), rows, nothing=""))
        return Response.html(text, 201, (("location", addresses[0]), _VARY, *HEADERS))

    # In the reactor's thread

    def _before(self, request: Request) -> None:
        """Check a request before its body is read."""
        self._check(request)
        if request.method == "PUT":
            self._place(request.parameters["path"])
            length = request.header("content-length") or ""
            if length.isdecimal() and int(length[:_DIGITS]) > self._largest:
                raise HttpError(413, f"A file may have {self._largest} octets.")

    def _check(self, request: Request) -> None:
        check_same_site(request)
        if self._auth is not None and not self._auth.allows(request.http):
            raise self._auth.refusal(request.http)

    def _find(self, path: str) -> Path:
        """The path of a file on disk.

        :raises HttpError: no file or folder can have this name: it is hidden, too long, or leads through a link.
        """
        place = self._folder.find(path)
        if place is None or not is_name(path.rpartition("/")[2]) or _is_too_long(place):
            raise HttpError(400, "No file can have this name here.")
        return place

    def _place(self, path: str) -> Path:
        """The path on disk for a file that a client may store. :raises HttpError: the client may not store it there."""
        place = self._find(path)
        if place.is_dir():
            raise HttpError(409, "This is a folder.")
        missing = self._missing(place)
        above = missing[0].parent if missing else place.parent
        if not above.is_dir():
            raise HttpError(409, f"{self._shown(above)} is a file, not a folder.")
        if missing and not self._create_folders:
            raise HttpError(409, f"There is no folder {self._shown(missing[0])}, and uploads do not create folders.")
        if not all(is_name(each.name) for each in missing):
            raise HttpError(400, "No folder can have this name here.")
        return place

    def _missing(self, place: Path) -> list[Path]:
        """The folders above a file that do not exist, the outermost first."""
        above = place.relative_to(self._folder.root).parents
        folders = [self._folder.root / each for each in above]
        return [each for each in reversed(folders) if not os.path.lexists(each)]

    def _shown(self, place: Path) -> str:
        """The URL path of a file, not encoded."""
        return f"{self._at}/{place.relative_to(self._folder.root)}"

    def _address(self, place: Path) -> str:
        return quote(self._shown(place))

    def _in_thread(self, call: Callable[[], Any]) -> Deferred[Any]:
        def on_disk() -> Any:
            with _disk_faults():
                return call()

        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), on_disk)

    # In another thread, because disks may be slow

    def _take_form(self, body: IO[bytes], boundary: str) -> list[Path]:
        """Store all files of a form, or none. :raises HttpError: the form is invalid, or a file cannot be stored."""
        places: list[Path] = []
        try:
            for name, file in _files(body, boundary, self._largest):
                places.append(self._add(self._folder.root / name, file))
        except BaseException:
            for place in places:
                place.unlink(missing_ok=True)
            raise
        return places

    def _add(self, place: Path, body: IO[bytes]) -> Path:
        """Store a new file. :raises HttpError: it exists, or cannot be stored."""
        written = self._write(body)
        with self._counting:
            try:
                os.link(written, place)
            except FileExistsError:
                raise HttpError(409, f"A file {place.name} exists already; PUT replaces it.") from None
            finally:
                written.unlink()
        return place

    def _replace(self, place: Path, body: IO[bytes]) -> bool:
        """Store a new file, or replace an existing one. :return: whether it is new."""
        written = self._write(body)
        with self._counting:
            try:
                self._make(self._missing(place))
                new = not place.exists()
                written.replace(place)
            except BaseException:
                written.unlink()
                raise
        return new

    def _make(self, folders: list[Path]) -> None:
        """Create all of these folders, or none. :raises HttpError: there are too many files and folders."""
        if folders and len(list(self._sizes())) + len(folders) > self._most:
            raise _no_room()
        made: list[Path] = []
        try:
            for folder in folders:
                folder.mkdir()
                made.append(folder)
        except OSError:
            for folder in reversed(made):
                folder.rmdir()
            raise

    def _remove(self, place: Path) -> None:
        """Delete a file, or an empty folder if clients may create folders. :raises HttpError: it is neither."""
        with self._counting:  # No file is moved into the folder meanwhile.
            if place.is_dir():
                self._remove_folder(place)
            elif place.is_file():
                place.unlink()
            else:
                raise HttpError(404, "There is no such file.")

    def _remove_folder(self, place: Path) -> None:
        if not self._create_folders:
            raise HttpError(409, "This is a folder.")
        try:
            place.rmdir()
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise HttpError(409, "This folder is not empty.") from None
            raise

    def _write(self, body: IO[bytes]) -> Path:
        """Write the body to a temporary file, and sync it to disk. :raises HttpError: it is too large."""
        octets = body.seek(0, os.SEEK_END)
        if octets > self._largest:
            raise HttpError(413, f"A file may have {self._largest} octets.")
        body.seek(0)
        descriptor, name = self._begin(octets)
        try:
            with os.fdopen(descriptor, "wb") as file:
                shutil.copyfileobj(body, file)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
        except BaseException:  # the disk is full, or the client has disconnected and its body was closed
            Path(name).unlink()
            raise
        return Path(name)

    def _begin(self, octets: int) -> tuple[int, str]:
        """Open a temporary file. It has its final size from the beginning, so that concurrent uploads count all of it.

        :return: its descriptor and its path.
        :raises HttpError: there is no room for it.
        """
        with self._counting:
            sizes = list(self._sizes())
            if len(sizes) >= self._most or sum(sizes) + octets > self._total:
                raise _no_room()
            descriptor, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=self._folder.root)
            try:
                os.ftruncate(descriptor, octets)
            except OSError:
                os.close(descriptor)
                Path(name).unlink()
                raise
        return descriptor, name

    def _sizes(self) -> Iterator[int]:
        return _sizes(self._folder.root, folders=self._create_folders)


def _is_too_long(place: Path) -> bool:
    """Whether the file system refuses a name because of its length."""
    try:
        place.lstat()
    except OSError as error:
        return error.errno == errno.ENAMETOOLONG
    return False


def _wants_page(request: Request) -> bool:
    """Whether the client prefers a page to JSON. The files are already stored, so an unsuitable Accept header is not an
    error.
    """
    try:
        return choose(request.header("accept"), (JSON, HTML)) == HTML
    except HttpError:
        return False


def _no_room() -> HttpError:
    return HttpError(507, "The folder has no room for this file; delete other files first.")


@contextlib.contextmanager
def _disk_faults() -> Iterator[None]:
    """Convert errors of the file system to errors for the client. :raises HttpError: 507, 403 or 409."""
    try:
        yield
    except PermissionError:
        raise HttpError(403, "The server may not write here.") from None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):  # another program made a change meanwhile
        raise HttpError(409, "The files at this path have changed meanwhile.") from None
    except OSError as error:
        if error.errno == errno.EROFS:
            raise HttpError(403, "The server may not write here.") from None
        if error.errno not in _FULL:
            raise
        log.error("upload.no_space", reason=error.strerror, advice="make room on the disk of the folder")
        raise HttpError(507, "The disk has no room for this file.") from None


def _sizes(folder: Path, *, folders: bool = False) -> Iterator[int]:
    """The size in octets of each file in a folder and the folders below it, including temporary files. Symbolic links
    are not followed.

    :param folders: whether each folder counts as an empty file.
    """
    for place, below, names in os.walk(folder):
        yield from (0 for _ in below if folders)
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # it was moved or deleted meanwhile
                yield os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118  (a Path takes four times as long)


def _files(body: IO[bytes], boundary: str, largest: int) -> Iterator[tuple[str, IO[bytes]]]:
    """The name and content of each file of a form.

    :raises HttpError: the form is invalid, has no file, or a file has an invalid name.
    """
    body.seek(0)
    count = 0
    try:
        for part in MultipartParser(body, boundary, part_limit=_PARTS, disk_limit=largest * _PARTS):
            with part.file as file:
                if part.filename:
                    count += 1
                    yield _file_name(part.filename), file
    except MultipartError as error:
        raise HttpError(400, f"The form is invalid: {error}.") from None
    if not count:
        raise HttpError(400, "The form contains no file.")


def _file_name(given: str) -> str:
    """The last part of a name, because some browsers send the whole path. :raises HttpError: no file can have it."""
    name = given.replace("\\", "/").rpartition("/")[2]
    if not is_name(name):
        raise HttpError(400, "A file of the form has a name that no file can have here.")
    return name
