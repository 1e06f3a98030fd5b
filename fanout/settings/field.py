"""The description of one setting, and the base class of all settings classes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from inspect import get_annotations
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr
from pydantic.fields import FieldInfo

DEFAULT = "default"
MAX_PORT = 65_535
FILLED = r"\S"
"""Pattern for a text that must not be empty."""
HOSTS = r"^$|^[^\s,]+(\s*,\s*[^\s,]+)*$"
"""Pattern for a list with commas, without empty entries; the list itself may be empty."""


def setting(
    default: Any,
    reason: str,
    unit: str = "",
    *,
    why: str = "",
    ge: float | None = None,
    le: float | None = None,
    pattern: str = "",
    reload: bool = False,
) -> Any:
    """A field of a :class:`SettingsGroup`.

    :param default: a value, or a function that computes it from the earlier settings (a dict by name).
    :param reason: the help text, one sentence that says what the setting is for.
    :param unit: the unit of a number: ``s``, ``octets``, ``frames`` …
    :param why: one sentence that says when an operator should change it, such as "Raise it behind a large NAT."
    :param ge: smallest allowed number.
    :param le: largest allowed number.
    :param pattern: regular expression that a text has to match; the reason describes the form in words.
    :param reload: whether a reload applies a new value; otherwise it needs a restart.
    """
    default_is = {"default_factory": default} if callable(default) else {"default": default}
    extra: dict[str, Any] = {"unit": unit, "why": why, "reload": reload}
    return Field(**default_is, description=reason, ge=ge, le=le, pattern=pattern or None, json_schema_extra=extra)


def constant(value: object, unit: str = "") -> str:
    """The reason for :attr:`SettingsGroup.retired` if a setting has become a named constant."""
    return f"it is always {value} {unit}".rstrip()


def _extra(field: FieldInfo) -> dict[str, Any]:
    """The attributes of :func:`setting` for which pydantic has no parameters."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"should be JSON ({error})") from None


# For lists and dicts: Python values in config.py, JSON in the environment and in flags.
Json = BeforeValidator(_from_json)
JsonDict = Annotated[dict[str, Any], Json]


class SettingsGroup(BaseModel):
    """Settings of one part, by UPPERCASE name. The first line of a group's docstring is its heading in help pages."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    retired: ClassVar[Mapping[str, str]] = {}
    """Settings of earlier versions, and why they do not exist any more. They are accepted, with one warning.

    A name that ends with ``*`` stands for every name in a ``config.py`` that begins in this way."""

    old_names: ClassVar[Mapping[str, str]] = {}
    """Names that settings have in the ``config.py`` of an earlier program; ``monitoring.host`` is a key of a
    dictionary."""

    unadvertised: ClassVar[bool] = False
    """Whether the group's settings are accepted and used, but not shown in help pages, files or manuals."""

    _sources: dict[str, tuple[str, ...]] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    def source_of(self, name: str) -> str:
        """The source of a setting's value: ``flag``, ``environment``, the path of a file, or ``default``."""
        return self._sources.get(name, (DEFAULT,))[0]

    def overruled(self, name: str) -> tuple[str, ...]:
        """The other sources that contain this setting; the value of :meth:`source_of` has precedence."""
        return self._sources.get(name, ())[1:]

    def warnings(self) -> tuple[str, ...]:
        """Harmless mistakes, one line each, to be logged after the logs are set up."""
        return (*self._warnings, *self.doubts())

    def doubts(self) -> tuple[str, ...]:
        """Valid values that do not fit together, one line each."""
        return ()

    def note(self, sources: Mapping[str, tuple[str, ...]], warnings: tuple[str, ...]) -> None:
        """Store the sources of the values, the one with precedence first. Only the loader calls this."""
        self._sources = dict(sources)
        self._warnings = warnings

    @classmethod
    def all_retired(cls) -> dict[str, str]:
        """:attr:`retired` of all groups of this class."""
        return cls._of_all_groups("retired")

    @classmethod
    def all_old_names(cls) -> dict[str, str]:
        """:attr:`old_names` of all groups of this class."""
        return cls._of_all_groups("old_names")

    @classmethod
    def _of_all_groups(cls, attribute: str) -> dict[str, str]:
        return {old: text for base in reversed(cls.__mro__) for old, text in vars(base).get(attribute, {}).items()}

    @classmethod
    def advertised(cls) -> tuple[str, ...]:
        """Names of the settings that help pages and manuals show."""
        return tuple(name for _, fields in cls.groups() for name in fields)

    @classmethod
    def hidden(cls) -> tuple[str, ...]:
        """Names of the settings that help pages and manuals do not show."""
        shown = cls.advertised()
        return tuple(name for name in cls.model_fields if name not in shown)

    @classmethod
    def reloadable(cls) -> tuple[str, ...]:
        """Names of the settings that a reload applies."""
        return tuple(name for name, field in cls.model_fields.items() if _extra(field).get("reload"))

    @classmethod
    def groups(cls) -> Iterator[tuple[str, dict[str, FieldInfo]]]:
        """Heading and fields of each advertised group of this class, from the last base class to the first.

        This is the order of pydantic. A field that a group overrides stays in the group that had it first.
        """
        seen: set[str] = set()
        for base in reversed(cls.__mro__):
            declared = get_annotations(base) if issubclass(base, SettingsGroup) else ()
            fields = {
                name: cls.model_fields[name] for name in declared if name in cls.model_fields and name not in seen
            }
            seen.update(fields)
            if fields and not vars(base).get("unadvertised"):
                yield (base.__doc__ or base.__name__).partition("\n")[0].rstrip("."), fields
