"""Serves the files of a folder over HTTP: finds the file of a path, refuses paths that lead out of the folder, and sets
the type of the file.

:mod:`fanout.http.dispatch` sends files with Twisted's server of files, which implements ranges and dates.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from functools import partial
from html import escape
from itertools import chain
from pathlib import Path
from urllib.parse import quote

from twisted.web.http import NOT_MODIFIED, datetimeToString, stringToDatetime
from twisted.web.server import NOT_DONE_YET
from twisted.web.static import File

from fanout.http import pages
from fanout.http.http_server import HttpRequest
from fanout.http.response import HARMLESS, HTML, HttpError, Response
from fanout.http.routing import Request, Route

_WELL_KNOWN = ".well-known"  # RFC 8615; the only hidden name that is served


class Folder:
    """Finds files by the rest of a path from :func:`fanout.http.routing.split`, which is decoded and has no ``..``.

    :ivar root: the folder. If its path is a symbolic link, the target of the link at the time of construction.
    """

    def __init__(self, root: str | Path, *, symlinks: bool = False) -> None:
        """
        :param root: the path of the folder.
        :param symlinks: whether symbolic links are followed, even if they lead out of the folder.
        :raises NotADirectoryError: there is no such folder.
        """
        try:
            self.root = Path(root).resolve()
        except RuntimeError:  # links in a circle
            raise NotADirectoryError(f"{root} is not a folder") from None
        self._symlinks = symlinks
        if not self.root.is_dir():
            raise NotADirectoryError(f"{root} is not a folder")

    def find(self, rest: str) -> Path | None:
        """The path of a file, which need not exist; None if no file of this name is served.

        :param rest: the rest of the path, with slashes; empty for the folder itself. A slash at the end is ignored.
        """
        names = rest.removesuffix("/").split("/") if rest else []
        if not all(_is_shown(name) for name in names):
            return None
        place = self.root.joinpath(*names)
        try:
            led_astray = not self._symlinks and place.resolve() != place
        except (OSError, RuntimeError):  # a name that is too long, or links in a circle
            return None
        return None if led_astray else place


def _is_shown(name: str) -> bool:
    """Whether a file of this name is served. Hidden ones, such as ``.htpasswd`` and ``.git``, are not."""
    return bool(name) and (not name.startswith(".") or name == _WELL_KNOWN) and "/" not in name and "\0" not in name


def is_name(name: str) -> bool:
    """Whether a client may give a new file this name."""
    return _is_shown(name) and "\\" not in name and name.isprintable() and len(name.encode()) <= 255


# Ten ranges are enough for players and download managers; each part of an answer is read and framed separately.
# 15 digits are enough for the size of any file: Twisted seeks to every number that it gets.
_RANGE = rb"[ \t]*+(\d{0,15})-(\d{0,15})[ \t]*+"
_RANGES = re.compile(rb"bytes=%b(?:,%b){0,9}" % (_RANGE, _RANGE))
_EACH = re.compile(_RANGE + rb"(?:,|$)")
_TAG = re.compile(rb'"[\x21\x23-\x7e\x80-\xff]*"')  # an entity tag in a list; W/ before it is ignored (RFC 9110, 8.8.3)
_SOURCES = dict.fromkeys((".c", ".cc", ".cpp", ".h", ".hpp", ".py"), "text/plain")
_TYPES = {**File.contentTypes, **_SOURCES, ".gz": "application/gzip"}
_UNKNOWN = "application/octet-stream"


def content_type(path: Path) -> str:
    """The media type of a file, by the extension of its name."""
    found = _TYPES.get(path.suffix.lower(), _UNKNOWN)
    return f"{found}; charset=utf-8" if found.startswith("text/") else found


class OneFile(File):
    """Answers a request with one file, which exists."""

    isLeaf = True

    def __init__(self, path: Path, content_type: str) -> None:
        super().__init__(str(path), defaultType=_UNKNOWN)
        self.type = content_type
        self.encoding = None  # A browser should save a .tar.gz, not decompress it to a .tar.

    def render_GET(self, request: HttpRequest) -> bytes | int:
        """Send the file, or the ranges that the client asks for; or a 304 if the client has the file.

        An invalid range is ignored (RFC 9110, 14.2). So are an invalid date, on which Twisted may fail, and any date
        together with an entity tag (13.1.3).
        """
        headers = request.requestHeaders
        self.restat(False)
        request.put_header("etag", self.etag.decode())
        if headers.hasHeader(b"if-none-match"):
            if self._is_known(headers.getRawHeaders(b"if-none-match", [])):
                return _not_modified(request)
            headers.removeHeader(b"if-modified-since")
        wanted = headers.getRawHeaders(b"range")
        if wanted is not None and not (len(wanted) == 1 and self._has(wanted[0]) and self._unchanged(request)):
            headers.removeHeader(b"range")
        if not all(map(_is_date, headers.getRawHeaders(b"if-modified-since", []))):
            headers.removeHeader(b"if-modified-since")
        result: bytes | int = super().render_GET(request)  # type: ignore[no-untyped-call]
        return _not_modified(request) if request.code == NOT_MODIFIED else result

    render_HEAD = render_GET

    @property
    def etag(self) -> bytes:
        """The entity tag: the time of the last change, and the size. A copy with the same time has the same tag."""
        changed = self.getModificationTime()  # seconds, with a fraction
        return b'"%x-%x"' % (round(changed * 1_000_000), self.getsize())

    def _is_known(self, given: Sequence[bytes]) -> bool:
        """Whether the client has this file. :param given: the values of If-None-Match (RFC 9110, 13.1.2)."""
        tags = b",".join(given)
        return tags.strip() == b"*" or self.etag in _TAG.findall(tags)

    def _has(self, wanted: bytes) -> bool:
        """Whether these ranges can be answered. Several ranges must begin within the file, and must not be longer than
        the file together: a client that asks for ten copies of a file gets it once.
        """
        if not _RANGES.fullmatch(wanted):
            return False
        found = _EACH.findall(wanted.removeprefix(b"bytes="))
        size = self.getsize()
        lengths = [_length(first, last, size) for first, last in found]
        return len(found) == 1 or (min(lengths) > 0 and sum(lengths) <= size)

    def _unchanged(self, request: HttpRequest) -> bool:
        """Whether the file is the same as the one of which the client has a part (RFC 9110, 13.1.5)."""
        condition = request.requestHeaders.getRawHeaders(b"if-range")
        date = datetimeToString(math.ceil(self.getModificationTime()))
        return condition is None or condition in ([date], [self.etag])


def _not_modified(request: HttpRequest) -> int:
    """Answer with a 304, without the Content-Length of 0 that Twisted would add (RFC 9110, 8.6)."""
    request.setResponseCode(NOT_MODIFIED)
    request.defaultContentType = None
    request.finish()
    return NOT_DONE_YET


def _length(first: bytes, last: bytes, size: int) -> int:
    """The number of octets of a file that a range covers; 0 or less if it covers none."""
    if not first:
        return min(int(last or 0), size)
    return min(int(last or size), size - 1) + 1 - int(first)


def _is_date(text: bytes) -> bool:
    try:
        stringToDatetime(text.partition(b";")[0])
    except (ValueError, IndexError, OverflowError):
        return False
    return True


class Files:
    """Handlers for the files of a folder."""

    def __init__(
        self,
        folder: str | Path,
        at: str = "",
        *,
        index: str = "index.html",
        listing: bool = False,
        symlinks: bool = False,
        public: bool = False,
        untrusted: bool = False,
        cache_control: str = "",
        uploads_to: str = "",
    ) -> None:
        """
        :param folder: the path of the folder, or of a symbolic link to it, which may be changed at any time.
        :param at: the URL path of the folder, such as ``/static``; empty for the whole site.
        :param index: the name of the file that is served for a folder.
        :param listing: whether the contents of a folder without such a file are listed.
        :param symlinks: whether symbolic links are followed, even if they lead out of the folder.
        :param public: whether scripts of other sites may read the files (CORS).
        :param untrusted: whether the files come from untrusted users: browsers show them, but execute no scripts.
        :param cache_control: the value of the header Cache-Control; empty for no such header.
        :param uploads_to: the URL path to which the form on the list sends files; empty for no form.
        :raises NotADirectoryError: there is no such folder.
        """
        # The folder is resolved for each request. Its path is absolute, because a WSGI application in this process may
        # change the working directory.
        self._folder = partial(Folder, Path(folder).absolute(), symlinks=symlinks)
        self._folder()
        self._at = at
        self._index = index
        self._listing = listing
        self._public = public
        self._untrusted = untrusted
        self._cache_control = cache_control
        self._uploads_to = uploads_to

    def routes(self) -> list[Route]:
        """The rows of the table."""
        rows = [Route(f"{self._at}/{{path:path}}", public=self._public, GET=self.get)]
        return [Route(self._at, public=self._public, GET=_add_slash), *rows] if self._at else rows

    def get(self, request: Request) -> Response:
        """The file; for a folder, its index or the list of its contents. :raises HttpError: there is none."""
        rest = request.parameters["path"]
        if self._untrusted:
            request.http.put_header("content-security-policy", HARMLESS)  # also for errors
        try:
            folder = self._folder()
            place = folder.find(rest)
            if place is not None and place.is_dir():
                return self._get_folder(request, folder, rest)
            if place is not None and place.is_file() and not rest.endswith("/"):
                return self._file(place)
        except PermissionError:
            raise HttpError(403, "This file cannot be read.") from None
        except OSError:  # a name that is too long, or a link whose target is missing
            pass
        raise HttpError(404, "There is no such file.")

    def _file(self, place: Path) -> Response:
        headers = (("cache-control", self._cache_control),) if self._cache_control else ()
        return Response(place, content_type=content_type(place), headers=headers)

    def _get_folder(self, request: Request, folder: Folder, rest: str) -> Response:
        if rest and not rest.endswith("/"):
            return _add_slash(request)
        index = folder.find(rest + self._index)
        if index is not None and index.is_file():
            return self._file(index)
        if not self._listing:
            raise HttpError(404, "There is no such file.")
        seen = [each for each in (folder.root / rest).iterdir() if folder.find(rest + each.name)]
        form = "" if rest or not self._uploads_to else _FORM.format(escape(self._uploads_to))
        return Response(_page(request.path, seen, form), content_type=HTML, headers=pages.HEADERS)


def _add_slash(request: Request) -> Response:
    """Redirect to the path with a slash at its end, so that relative links of the page point below it. Slashes at the
    beginning of the path are merged to one, because a path that begins with two slashes would lead to another site.
    """
    query = request.http.uri.partition(b"?")[1:]
    path = "/" + quote(request.path.lstrip("/"))
    return Response.redirect(path + "/" + b"".join(query).decode("ascii", "ignore"), 301)


_FORM = """<form class="send" method="post" enctype="multipart/form-data" action="{}">
<input type="file" name="file" multiple required aria-label="Files to upload">
<button type="submit">Upload</button>
</form>
"""


def _page(path: str, seen: list[Path], form: str) -> Iterator[bytes]:
    """The page with the list of a folder, in pieces, because there may be many files. Folders come first."""
    folders = {each for each in seen if each.is_dir()}
    rows = chain(
        [pages.row("../", "Parent folder", pages.text(), pages.text())] if path != "/" else [],
        (_row(each, is_folder=each in folders) for each in sorted(seen, key=lambda each: (each not in folders, each))),
    )
    columns = ("Name", "Size", "Changed (UTC)")
    for piece in pages.listing(f"Files in {path}", columns, rows, below=form, nothing="There are no files."):
        yield piece.encode(errors="replace")


def _row(place: Path, *, is_folder: bool) -> str:
    try:
        found = place.stat()
    except OSError:  # it was deleted meanwhile
        return ""
    name = place.name + "/" * is_folder
    size = pages.text() if is_folder else pages.size(found.st_size)
    return pages.row(f"./{quote(name)}", name, size, pages.time(found.st_mtime))
