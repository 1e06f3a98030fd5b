"""The site file, SITE.toml, which describes what one server serves. All errors in it are reported together, with one
line for each.

:func:`read_site` reads the file. :func:`page` makes the page about all keys: ``python -m webserver.site_config``.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo

_PLACE = r"^(/[^/{}?#%\s]+)+$"


class SiteError(Exception):
    """A site file cannot be used. The text has one line for each reason."""


class SitePart(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False)


class SiteServer(SitePart):
    """Address, port, host names and logs."""

    ip: str = Field(default="127.0.0.1", description="Address to listen on; with 0.0.0.0 other machines can connect.")
    port: int = Field(default=8000, ge=0, le=65_535, description="Port to listen on; 0 for a free port.")
    names: list[str] = Field(
        default=[],
        description="Accepted host names besides IP addresses, localhost and this machine's name; * for every name.",
    )
    log_level: str = Field(
        default="INFO",
        pattern="^(DEBUG|INFO|WARNING|ERROR)$",
        description="Lowest level that is logged: DEBUG, INFO, WARNING or ERROR.",
    )
    grace_seconds: float = Field(
        default=10, ge=0, le=3_600, description="Seconds in which running answers must be complete after a SIGTERM."
    )
    access_log: str = Field(
        default="", description="File with a line for each answer, in the combined log format; empty for none."
    )
    access_log_bytes: int = Field(
        default=10_000_000, ge=0, description="Octets of access_log at which a new file begins."
    )
    access_log_files: int = Field(default=10, ge=0, le=1_000, description="Number of old access logs that are kept.")


class SiteLimits(SitePart):
    """Limits of clients."""

    body_bytes: int = Field(
        default=16_777_216,
        ge=0,
        le=2**40,
        description="Octets of the longest body of a request; bodies above 64 KiB are stored on disk.",
    )
    request_seconds: float = Field(
        default=30,
        gt=0,
        le=86_400,
        description="Seconds for a complete request, again for each 64 KiB of its body, and for an idle connection.",
    )
    unread_seconds: float = Field(
        default=60, gt=0, le=86_400, description="Seconds after which a client that acknowledges nothing is cut off."
    )
    connections: int = Field(
        default=5_000, ge=1, le=1_000_000, description="Limit of open connections; further ones are closed."
    )
    connections_per_address: int = Field(
        default=0, ge=0, description="Limit of open connections of one address; 0 for no limit."
    )

    # The settings that the engine's HTTP server reads, fanout.http.http_server.RequestSettings.

    @property
    def WRITE_TIMEOUT(self) -> float:
        """The same as ``unread_seconds``."""
        return self.unread_seconds


class TopicsPart(SitePart):
    """Topics as resources."""

    at: str = Field(default="/channels", pattern=_PLACE, description="URL path of the topics, such as /channels.")
    token: SecretStr = Field(
        default=SecretStr(""), description="Token that clients need to publish; empty if they need none."
    )
    longest_wait_seconds: float = Field(
        default=60, gt=0, le=3_600, description="Longest time in seconds that a client may wait for a value."
    )
    topics: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Number of topics whose last value is kept; oldest go first."
    )
    listeners: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Limit of waiting requests and event streams at a time."
    )


class UploadsPart(SitePart):
    """A folder to which clients upload files."""

    at: str = Field(default="/uploads", pattern=_PLACE, description="URL path of the folder, such as /uploads.")
    folder: str = Field(description="Path of the folder on disk.")
    largest_bytes: int = Field(
        default=16_777_216, ge=0, description="Octets of the largest file; limits.body_bytes applies as well."
    )
    total_bytes: int = Field(
        default=1_073_741_824,
        ge=0,
        description="Limit of the octets of all files together, so that uploads do not fill the disk.",
    )
    most_files: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Limit of the number of files; each upload counts all of them."
    )
    create_folders: bool = Field(
        default=False, description="Whether PUT creates the folders of its path. They count as files."
    )
    token: SecretStr = Field(
        default=SecretStr(""), description="Token that clients need to write; empty if they need none."
    )
    readable: bool = Field(
        default=True, description="Whether clients can read the files; browsers execute no scripts of them."
    )
    listing: bool = Field(default=False, description="Whether the contents of the folder are listed.")


class WsgiPart(SitePart):
    """A WSGI application, or a table of them."""

    at: str = Field(
        default="", pattern=rf"^$|{_PLACE}", description="URL path, such as /shop; empty for the whole site."
    )
    application: str = Field(
        default="", pattern=r"^$|^[\w.]+:\w+$", description="The application, as module:name; or set table."
    )
    table: str = Field(default="", description="Path of a file in the form of urls.ini; or set application.")
    python_path: list[str] = Field(default=[], description="Folders that are searched first for its modules.")
    threads: int = Field(default=10, ge=1, le=1_000, description="Limit of requests that are processed at a time.")
    seconds: float = Field(
        default=30, gt=0, le=86_400, description="Seconds for the first and each further piece of an answer."
    )
    settings: dict[str, str] = Field(default={}, description="Values that it gets as kp.NAME in its environ.")


class FilesPart(SitePart):
    """A folder whose files are served."""

    at: str = Field(
        default="", pattern=rf"^$|{_PLACE}", description="URL path, such as /shop; empty for the whole site."
    )
    folder: str = Field(description="Path of the folder on disk.")
    index: str = Field(default="index.html", pattern=r"^[^/]+$", description="File that is served for a folder.")
    listing: bool = Field(default=False, description="Whether a folder without this file is listed.")
    symlinks: bool = Field(
        default=False, description="Whether symbolic links are followed, even if they lead out of the folder."
    )
    public: bool = Field(default=False, description="Whether scripts of other sites may read the files (CORS).")


class SiteConfig(SitePart):
    """The whole file."""

    server: SiteServer = Field(default_factory=SiteServer, description="[server]")
    limits: SiteLimits = Field(default_factory=SiteLimits, description="[limits]")
    topics: TopicsPart | None = Field(default=None, description="[topics]")
    uploads: list[UploadsPart] = Field(default=[], description="[[uploads]]")
    wsgi: list[WsgiPart] = Field(default=[], description="[[wsgi]]")
    files: list[FilesPart] = Field(default=[], description="[[files]]")
    errors: dict[str, str] = Field(default={}, description="[errors]")

    def secrets(self) -> list[str]:
        """The values that no log may show: the tokens."""
        tokens = [part.token for part in self.uploads] + ([self.topics.token] if self.topics else [])
        return [token.get_secret_value() for token in tokens]


def read_site(path: Path) -> SiteConfig:
    """Read a site file. :raises SiteError: it cannot be read, or is invalid."""
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise SiteError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SiteError(f"{path}: {error}") from None
    except RecursionError:
        raise SiteError(f"{path}: it is nested too deeply") from None
    try:
        site = SiteConfig.model_validate(content)
    except ValidationError as error:
        raise SiteError("\n".join(f"{path}: {line}" for line in _problems(error))) from None
    if overlaps := list(_overlaps(site)):
        raise SiteError("\n".join(f"{path}: {line}" for line in overlaps))
    return site


def _overlaps(site: SiteConfig) -> Iterator[str]:
    """Find parts with the same path that answer the same methods. A part below another one is allowed, because the one
    with the longest prefix answers.
    """
    places: dict[tuple[str, str], str] = {}
    for at, name, reads, writes in _parts(site):
        methods = ("read", reads), ("write", writes)
        taken = [places[at, method] for method, used in methods if used and (at, method) in places]
        if taken:
            place = f"at {at}" if at else "the whole site"
            yield f"{name}, at: {taken[0]} is {place} already; each needs its own place"
        for method, used in methods:
            if used:
                places.setdefault((at, method), name)


def _parts(site: SiteConfig) -> Iterator[tuple[str, str, bool, bool]]:
    """The path of each part, its name in error messages, whether it answers reading and whether writing methods."""
    if site.topics is not None:
        yield site.topics.at, "topics", True, True
    yield from ((part.at, f"uploads {n}", part.readable, True) for n, part in enumerate(site.uploads, 1))
    yield from ((part.at, f"wsgi {n}", True, True) for n, part in enumerate(site.wsgi, 1))
    yield from ((part.at, f"files {n}", True, False) for n, part in enumerate(site.files, 1))


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        loc = problem["loc"]
        fields = _table(SiteConfig, loc[:-1]).model_fields
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(loc[-1]), fields, 1)
            advice = f"did you mean {near[0]}?" if near else f"known keys are {', '.join(fields)}"
            yield f"{_place(loc)}: no such key; {advice}"
        elif problem["type"] == "string_pattern_mismatch":
            yield f"{_place(loc)}: invalid value. {fields[str(loc[-1])].description}"
        else:
            yield f"{_place(loc)}: {problem['msg'].lower()}"


def _place(loc: Sequence[int | str]) -> str:
    """The name of a key in error messages, such as ``files 2, folder``."""
    words = [f" {part + 1}" if isinstance(part, int) else f", {part}" for part in loc]
    return "".join(words).removeprefix(", ")


def _table(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel]:
    """The class of the table at a location."""
    for name in loc:
        if isinstance(name, str) and name in model.model_fields:
            model = table_of(model.model_fields[name].annotation) or model
    return model


def table_of(annotation: Any) -> type[BaseModel] | None:
    """The class of the table in a key; None for a plain value."""
    kinds = [annotation, *get_args(annotation)]
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most"}


def reference() -> Iterator[str]:
    """The table of all keys, as lines of Markdown."""
    yield "| key | default | |"
    yield "| --- | --- | --- |"
    for name, field in SiteConfig.model_fields.items():
        part = table_of(field.annotation)
        if part is None:
            yield f'| **`[{name}]`** | | Pages for errors, by status: `404 = "missing.html"`. |'
        else:
            yield f"| **`{field.description}`** | | {part.__doc__} |"
            yield from (_row(key, each) for key, each in part.model_fields.items())


def _row(key: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else f"`{_shown(field.default)}`"
    bounds = ", ".join(_bounds(field.metadata))
    return f"| `{key}` | {default} | {field.description}{f' ({bounds})' if bounds else ''} |"


def _shown(default: Any) -> str:
    """A default in the form of TOML."""
    if isinstance(default, bool):
        return str(default).lower()
    value = default.get_secret_value() if isinstance(default, SecretStr) else default
    return f'"{value}"' if isinstance(value, str) else str(value)


def _bounds(metadata: Sequence[Any]) -> Iterator[str]:
    for each in metadata:
        yield from (f"{words} {getattr(each, name):,}" for name, words in _BOUNDS.items() if hasattr(each, name))


def page() -> str:
    """The page docs/web-settings.md."""
    head = """# Keys of SITE.toml

For an operator of the [web server](web.md). At the end you know every key of a site file, its default and range.
Generated by `make settings`.
"""
    return "\n".join([head, *reference()])


if __name__ == "__main__":
    print(page())
