"""The arguments of a command that goes by a node's settings: every flag of serve, beside its own."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence

from fanout.settings import add_flags, given_flags, parse_flags, read_settings
from radiovis.commands.arguments import CommandParser
from radiovis.settings import Settings


class SettingsParser(CommandParser):
    """As :class:`CommandParser`, whose arguments those of ``serve`` join when it reads: the help of each command, and
    :mod:`radiovis.commands.reference`, name them in a word.
    """

    def __init__(self, name: str, description: str, exits: Mapping[int, str], note: str = "") -> None:
        super().__init__(name, description, exits, f"Takes every flag of serve. {note}".strip())

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Parse the words behind the command's name; once. :raises SettingsError: for what no setting is called."""
        self.usage = " ".join(self.format_usage().split()[1:]) + " [--setting VALUE ...]"
        add_flags(self, Settings)
        return parse_flags(self, Settings, words)


def given_settings(given: argparse.Namespace) -> Settings:
    """What flags, environment and ``config.py`` say together. :raises SettingsError: something is wrong."""
    return read_settings(Settings, given_flags(given), os.environ, given.config)
