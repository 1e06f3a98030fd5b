"""Every key of a site file, for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from fanout.web.site_file import Site, table_of

_BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most"}


def reference() -> Iterator[str]:
    """Lines of Markdown: a table."""
    yield "| key | default | |"
    yield "| --- | --- | --- |"
    for name, field in Site.model_fields.items():
        part = table_of(field.annotation)
        if part is None:
            yield f'| **`[{name}]`** | | Pages for errors, by status: `404 = "missing.html"`. |'
        else:
            yield f"| **`{field.description}`** | | {part.__doc__} |"
            yield from (_row(key, each) for key, each in part.model_fields.items())


def _row(key: str, field: FieldInfo) -> str:
    default = "needed" if field.is_required() else f"`{_shown(field.default)}`"
    bounds = ", ".join(_bounds(field.metadata))
    return f"| `{key}` | {default} | {field.description}{f' ({bounds})' if bounds else ''} |"


def _shown(default: Any) -> str:
    """As TOML writes it."""
    if isinstance(default, bool):
        return str(default).lower()
    value = default.get_secret_value() if isinstance(default, SecretStr) else default
    return f'"{value}"' if isinstance(value, str) else str(value)


def _bounds(metadata: Sequence[Any]) -> Iterator[str]:
    for each in metadata:
        yield from (f"{words} {getattr(each, name):,}" for name, words in _BOUNDS.items() if hasattr(each, name))
