"""Pages generated from the settings: a ``config.py`` to start from, and the table for the manual."""

from __future__ import annotations

import pprint

from fanout.settings.field import SettingsGroup
from fanout.settings.words import Words

CONFIG_HEAD = """\
# Every setting with its default. Copy this file to config.py and uncomment what you change.
#
# A flag (--stomp-port 61613) wins over the environment (STOMP_PORT=61613), the environment over this file.
# A secret may stand in a file of its own: RABBITMQ_PASSWORD_FILE=/run/secrets/rabbitmq_password in the environment.
# Generated from the code by "make settings"; do not edit.
"""
REFERENCE_HEAD = """\
# Settings

A flag (`--stomp-port 61613`) wins over the environment (`STOMP_PORT=61613`), the environment over `config.py` in the
working folder (or `--config PATH`), `config.py` over the default. Switches take true/false, yes/no, 1/0. Lists and
dicts are JSON in flags and in the environment. Generated from the code by `make settings`; do not edit.

A secret (passwords, `ADMIN_TOKEN`, `RADIODNS_API_URL`) may stand in a file of its own, which the environment names:
`RABBITMQ_PASSWORD_FILE=/run/secrets/rabbitmq_password`.
"""


def config_dist(settings_class: type[SettingsGroup]) -> str:
    """The text of ``config.py.dist``: every setting as a comment, with its default, range and reason."""
    words = Words(settings_class)
    lines = [CONFIG_HEAD]
    for heading, fields in settings_class.groups():
        lines.append(f"\n# --- {heading} ---\n")
        for name in fields:
            shape = ", ".join(filter(None, [words.unit(name), words.bounds(name).strip(), words.choices(name)]))
            lines.append(f"# {words.reason(name)}" + (f" ({shape})" if shape else ""))
            lines.extend(f"#{line}" for line in _assignment(name, words.default(name)))
            lines.append("")
    return "\n".join(lines)


def reference(settings_class: type[SettingsGroup], head: str = REFERENCE_HEAD) -> str:
    """The text of ``docs/settings.md``: one table per group.

    :param head: what stands before them, for an application whose settings come from elsewhere.
    """
    words = Words(settings_class)
    lines = [head]
    for heading, fields in settings_class.groups():
        lines += [f"## {heading}", "", "| setting | default | unit, range | what for |", "| --- | --- | --- | --- |"]
        for name in fields:
            default = words.default(name)
            shape = " ".join(filter(None, [words.unit(name), words.bounds(name).strip(), words.choices(name)]))
            lines.append(f"| `{name}` | `{default!r}` | {shape} | {words.reason(name)} |")
        lines.append("")
    return "\n".join(lines)


def _assignment(name: str, default: object) -> list[str]:
    first, *others = pprint.pformat(default, width=100, sort_dicts=False).splitlines()
    return [f"{name} = {first}", *(f"    {line.strip()}" for line in others)]
