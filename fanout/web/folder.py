"""A folder whose files have addresses: which file an address means, and that none means anything outside."""

from __future__ import annotations

from pathlib import Path

_WELL_KNOWN = ".well-known"  # RFC 8615; the one hidden name that is meant to be seen


class Folder:
    """Finds files by the rest of a path, as :func:`fanout.web.pattern.split` leaves it: decoded, without ``..``.

    :ivar root: the folder. Where its own path is a link, what that led to when this was made.
    """

    def __init__(self, root: str | Path, *, symlinks: bool = False) -> None:
        """
        :param symlinks: whether links are followed, wherever they lead.
        :raises NotADirectoryError: there is no such folder.
        """
        try:
            self.root = Path(root).resolve()
        except RuntimeError:  # links in a circle
            raise NotADirectoryError(f"{root} is no folder") from None
        self._symlinks = symlinks
        if not self.root.is_dir():
            raise NotADirectoryError(f"{root} is no folder")

    def find(self, rest: str) -> Path | None:
        """The place of that name, whether or not there is anything; None when no name like this is served.

        :param rest: with slashes; empty for the folder itself, and one at the end changes nothing.
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
    """Whether a file of this name is for clients: hidden ones, such as ``.htpasswd`` and ``.git``, are not."""
    return bool(name) and (not name.startswith(".") or name == _WELL_KNOWN) and "/" not in name and "\0" not in name


def is_name(name: str) -> bool:
    """Whether a client may give a new file this name."""
    return _is_shown(name) and "\\" not in name and name.isprintable() and len(name.encode()) <= 255
