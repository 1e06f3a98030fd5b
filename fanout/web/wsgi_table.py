"""A table of WSGI applications in the form of ``urls.ini``: the first segment of a path chooses.

    [guestbook]
    regex = guests?
    import_path = guestbook.web
    app_object = application        ; this is the default
    colour = green                  ; the application's own: kp.colour in its environ

    [root]                          ; the empty path; optional
    import_path = start

    [error_404]                     ; compulsory, and the last
    import_path = nothing_here

The order counts: the first section whose expression fits the whole segment answers.
"""

from __future__ import annotations

import configparser
import importlib
import re
from collections.abc import Callable, Mapping
from typing import Any

from fanout.web.wsgi import Mounted

_ROOT, _LAST = "root", "error_404"
_OURS = frozenset({"regex", "import_path", "app_object"})


class TableError(ValueError):
    """A table is wrong. The text says which section, and what to do."""


class WsgiTable:
    """Chooses an application."""

    def __init__(self, text: str, settings: Mapping[str, str] | None = None) -> None:
        """Import every application.

        :param text: of the file.
        :param settings: for all of them; a section's own come first.
        :raises TableError: something is wrong with it.
        """
        parser = configparser.ConfigParser(interpolation=None)
        try:
            parser.read_string(text)
        except configparser.Error as error:
            raise TableError(f"This is no table of sections: {error}") from None
        if not parser.sections() or parser.sections()[-1] != _LAST:
            raise TableError(f"The last section should be [{_LAST}]: what answers where no other does.")
        self._rows: list[tuple[re.Pattern[str], Mounted]] = []
        self._root: Mounted | None = None
        for name in parser.sections():
            self._add(name, parser[name], settings or {})

    def __call__(self, rest: str) -> Mounted:
        """The application for the rest of a path."""
        first = rest.partition("/")[0]
        if not rest and self._root is not None:
            return self._root
        return next((mounted for regex, mounted in self._rows if first and regex.fullmatch(first)), self._last)

    def _add(self, name: str, section: Mapping[str, str], settings: Mapping[str, str]) -> None:
        own = {key: value for key, value in section.items() if key not in _OURS}
        application = load(section.get("import_path", ""), section.get("app_object", "application"), name)
        mounted = Mounted(application, {**settings, **own}, segments=int(name not in (_ROOT, _LAST)))
        if name == _LAST:
            self._last = mounted
        elif name == _ROOT:
            self._root = mounted
        else:
            self._rows.append((_regex(name, section.get("regex", "")), mounted))
        if name in (_ROOT, _LAST) and "regex" in section:
            raise TableError(f"[{name}] has no regex; its name says when it answers.")


def _regex(name: str, text: str) -> re.Pattern[str]:
    if not text:
        raise TableError(f"[{name}] needs a regex: which first segments of a path are its own.")
    try:
        return re.compile(text)
    except re.error as error:
        raise TableError(f"[{name}]: regex = {text} is no regular expression: {error}.") from None


def load(import_path: str, name: str, place: str) -> Callable[..., Any]:
    """An application.

    :param import_path: of its module.
    :param name: in there.
    :param place: who asks; for errors.
    :raises TableError: there is none.
    """
    if not import_path:
        raise TableError(f"[{place}] needs an import_path: the module of its application.")
    try:
        found = getattr(importlib.import_module(import_path), name, None)
    except Exception as error:
        raise TableError(f"[{place}]: {import_path} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise TableError(f"[{place}]: {import_path} has no application named {name}.")
    application: Callable[..., Any] = found
    return application
