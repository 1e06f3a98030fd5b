"""All checks, in the order they are made."""

from __future__ import annotations

from radiovis.conformance import bad_input, behaviour, frames, negotiation, receivers

CHECKS = (*negotiation.CHECKS, *frames.CHECKS, *behaviour.CHECKS, *receivers.CHECKS, *bad_input.CHECKS)
