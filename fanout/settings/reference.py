"""Pages generated from the settings: a ``config.py`` as a starting point, and the tables for the manual."""

from __future__ import annotations

import json
import pprint
import textwrap
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import SecretStr

from fanout.settings.field import SettingsGroup

# Settings in words, for help, error messages and the reference.

MASK = "********"


class Words:
    """Describes the settings of one class in words."""

    def __init__(self, settings_class: type[SettingsGroup]) -> None:
        self._fields = settings_class.model_fields
        self._defaults = settings_class()
        self._schema: dict[str, dict[str, Any]] = settings_class.model_json_schema()["properties"]

    def reason(self, name: str) -> str:
        """The sentence that says what the setting is for."""
        return self._fields[name].description or ""

    def why(self, name: str) -> str:
        """The sentence that says when to change the setting; empty if there is none."""
        return str(self._schema[name]["why"])

    def explanation(self, name: str) -> str:
        """What the setting is for, and when to change it."""
        return f"{self.reason(name)} {self.why(name)}".rstrip()

    def unit(self, name: str) -> str:
        """The unit of the number, or an empty text."""
        return str(self._schema[name]["unit"])

    def is_reloadable(self, name: str) -> bool:
        """Whether a reload applies a new value."""
        return bool(self._schema[name]["reload"])

    def is_boolean(self, name: str) -> bool:
        """Whether the setting is a switch."""
        return self._schema[name].get("type") == "boolean"

    def is_secret(self, name: str) -> bool:
        """Whether the value must not be shown."""
        return self._fields[name].annotation is SecretStr

    def default(self, name: str) -> Any:
        """The default in plain text: defaults are public."""
        default = getattr(self._defaults, name)
        return default.get_secret_value() if isinstance(default, SecretStr) else default

    def help(self, name: str) -> str:
        """The text for a help page: ``Time for one answer. (default: 5 s)``."""
        default = self.default(name)
        shown = default if isinstance(default, str) and default else json.dumps(default)
        return f"{self.reason(name)} (default: {shown} {self.unit(name)}".rstrip() + ")"

    def choices(self, name: str) -> str:
        """The possible values, if the setting is one of a few words: ``auto, on, off``."""
        return ", ".join(self._schema[name].get("enum", ()))

    def metavar(self, name: str) -> str:
        """The placeholder for the value on a help page, after the flag."""
        kind = self._schema[name].get("type", "")
        if "enum" in self._schema[name]:
            return "|".join(self._schema[name]["enum"])
        return {"integer": "N", "number": "N", "boolean": "true|false", "string": "TEXT"}.get(kind, "JSON")

    def shown(self, name: str, value: object) -> str:
        """A value for people. It is masked if it is a secret, or may contain one, such as the options of a library."""
        if name in self._fields and (self.is_secret(name) or self.metavar(name) == "JSON"):
            return MASK
        return repr(value)

    def allowed(self, name: str) -> str:
        """The allowed values in words: ``should be a whole number from 1 to 65535``."""
        schema = self._schema[name]
        if "enum" in schema:
            return f"should be one of {self.choices(name)}"
        kind = schema.get("type", "")
        kinds = {
            "integer": "a whole number",
            "number": "a number",
            "boolean": "true or false",
            "string": f"text: {self.reason(name)}" if "pattern" in schema else "text",
            "array": "a list",
            "object": "a dict",
        }
        return f"should be {kinds.get(kind, 'different')}{self.bounds(name)}"

    def bounds(self, name: str) -> str:
        """The range of a number: `` from 1 to 65535``."""
        least, most = self._schema[name].get("minimum"), self._schema[name].get("maximum")
        return (f" from {least}" if least is not None else "") + (f" to {most}" if most is not None else "")


CONFIG_HEAD = """\
# Every setting with its default. Copy this file to config.py and uncomment the settings that you change.
#
# A flag (--stomp-port 61613) overrides the environment (STOMP_PORT=61613), the environment overrides this file.
# A secret may be in a separate file: set RABBITMQ_PASSWORD_FILE=/run/secrets/rabbitmq_password in the environment.
# A reload (SIGHUP) applies the settings marked "reload"; the others need a restart.
# Generated from the code by "make settings"; do not edit.
"""
_NUMBERS = {10: "ten"}
_WITHOUT_EFFECT = "These names are accepted, with one warning at the start, and have no effect."
REFERENCE_HEAD = """\
# Settings

A flag (`--stomp-port 61613`) overrides the environment (`STOMP_PORT=61613`), the environment overrides `config.py` in
the working folder (or `--config PATH`), and `config.py` overrides the default. Switches accept true/false, yes/no, 1/0.
Lists and dicts are JSON in flags and in the environment. An empty value that is not valid, such as `RABBITMQ_PORT=`,
counts as missing. Generated from the code by `make settings`; do not edit.

A secret (a password, a token, a URL that contains a secret) may be in a separate file, whose path is in the
environment: `RABBITMQ_PASSWORD_FILE=/run/secrets/rabbitmq_password`.

A reload (SIGHUP) applies the settings with *yes* in the column *reload*; the others need a restart.
"""


def config_dist(settings_class: type[SettingsGroup]) -> str:
    """The text of ``config.py.dist``: every setting as a comment, with its default, range and purpose."""
    words = Words(settings_class)
    lines = [CONFIG_HEAD]
    for heading, fields in settings_class.groups():
        lines.append(f"\n# --- {heading} ---\n")
        for name in fields:
            reload = "reload" if words.is_reloadable(name) else ""
            shape = [words.unit(name), words.bounds(name).strip(), words.choices(name), reload]
            note = ", ".join(filter(None, shape))
            text = words.explanation(name) + (f" ({note})" if note else "")
            lines.extend(textwrap.wrap(text, 118, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False))
            lines.extend(f"#{line}" for line in _assignment(name, words.default(name)))
            lines.append("")
    return "\n".join(lines)


def reference(
    settings_class: type[SettingsGroup],
    head: str = REFERENCE_HEAD,
    *,
    reloads: bool = True,
    first: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The text of ``docs/settings.md``: one table per group.

    :param head: the text above the tables, for an application whose settings come from other sources.
    :param reloads: whether the application reads its settings again; if not, the tables have no column about it.
    :param first: settings that most operators need, and their purpose.
    """
    words = Words(settings_class)
    columns = [
        "setting",
        "default",
        "unit, range",
        *(["reload"] if reloads else []),
        "what it is for, and when to change it",
    ]
    lines = [head, *_first(first)]
    for heading, fields in settings_class.groups():
        lines += [f"## {heading}", "", _row(columns), _row(["---"] * len(columns))]
        for name in fields:
            shape = " ".join(filter(None, [words.unit(name), words.bounds(name).strip(), words.choices(name)]))
            reload = ["yes" if words.is_reloadable(name) else ""] if reloads else []
            anchor = f'<a id="{name.lower()}"></a>'
            cells = [f"{anchor}`{name}`", f"`{words.default(name)!r}`", shape, *reload, words.explanation(name)]
            lines.append(_row(cells))
        lines.append("")
    return "\n".join([*lines, *_without_effect(settings_class)])


def _first(first: Mapping[str, str]) -> list[str]:
    if not first:
        return []
    rows = [_row([f"[`{name}`](#{name.lower()})", purpose]) for name, purpose in first.items()]
    heading = f"## The {_NUMBERS.get(len(first), len(first))} that most operators need"
    return [heading, "", _row(["setting", "set it"]), _row(["---"] * 2), *rows, ""]


def _without_effect(settings_class: type[SettingsGroup]) -> list[str]:
    """The names that are accepted and have no effect, by their reason."""
    retired = settings_class.all_retired()
    if not retired:
        return []
    rows = [_row([f"`{name}`", why]) for name, why in retired.items()]
    return ["## Without effect", "", _WITHOUT_EFFECT, "", _row(["setting", "why"]), _row(["---"] * 2), *rows, ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _assignment(name: str, default: object) -> list[str]:
    first, *others = pprint.pformat(default, width=100, sort_dicts=False).splitlines()
    return [f"{name} = {first}", *(f"    {line.strip()}" for line in others)]
