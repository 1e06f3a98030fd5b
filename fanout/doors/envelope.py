"""What goes around the octets of a message on a carrier that has messages of its own, such as a WebSocket."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fanout.hub import Form
from fanout.message import Message

# Octets as the door writes them → octets as they travel. The same function for all whose carriers are alike.
Envelope = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Enveloped:
    """A :class:`fanout.hub.Form` inside an envelope: a cohort's message is put into one once, not once per client."""

    form: Form
    envelope: Envelope

    @property
    def destination(self) -> str:
        """What the subscribers asked for."""
        return self.form.destination

    def encode(self, message: Message, encoded: dict[Any, Any]) -> bytes:
        """The octets as they travel."""
        return self.envelope(self.form.encode(message, encoded))
