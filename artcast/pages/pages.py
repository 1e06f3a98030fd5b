"""The pages: the table of keys, a key's values as they come, and for some keys a page of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, TemplateNotFound

from fanout.http.files import Files
from fanout.http.response import Headers, Response

_HERE = Path(__file__).parent
_BY_ACCEPT = ("vary", "Accept")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_OURS: Headers = (_BY_ACCEPT, ("content-security-policy", _POLICY), ("referrer-policy", "no-referrer"))


class Pages:
    """Makes pages of templates. Everything a source has said is escaped in them.

    :ivar content: their style and scripts.
    """

    def __init__(self, folder: str) -> None:
        """:param folder: the operator's own templates, ``<key>.html``; empty for none."""
        self._ours = _templates(_HERE / "templates")
        self._own = _templates(Path(folder)) if folder else None
        self.content = Files(_HERE / "static")

    def list_of_keys(self, entries: Sequence[Mapping[str, Any]]) -> Response:
        """The table. It looks for new keys by itself."""
        return Response.html(self._ours.get_template("keys.html").render(entries=entries), headers=_OURS)

    def of_key(self, key: str, facts: Mapping[str, Any]) -> Response:
        """The page of a key. One of the operator's own may do what it likes: it has no policy for its scripts."""
        try:
            if self._own is not None:
                page = self._own.get_template(f"{key}.html").render(key=key, **facts)
                return Response.html(page, headers=(_BY_ACCEPT,))
        except TemplateNotFound:
            pass  # jinja leaves the folder for no name
        return Response.html(self._ours.get_template("key.html").render(key=key, facts=facts), headers=_OURS)


def _templates(folder: Path) -> Environment:
    return Environment(
        autoescape=True,  # everything, always: whoever may send a datagram chose these words
        loader=FileSystemLoader(folder),
        trim_blocks=True,
        lstrip_blocks=True,
    )
