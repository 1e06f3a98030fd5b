"""``python -m tests.clients``: plays every transcript against a node and prints who did what, and what it received."""

from __future__ import annotations

import itertools
import sys
from contextlib import closing

from tests.clients.case import node_settings
from tests.clients.transcript import Company, Conversation, Transcript, transcripts
from tests.processes import node

HEAD = ("client", "version", "transport", "what was done", "what was received")


def main() -> int:
    """Print the table. 1 if a client was not served."""
    rows = [HEAD]
    failed = 0
    for settings, group in itertools.groupby(
        sorted(transcripts(), key=lambda each: each.settings), lambda each: each.settings
    ):
        with node(**node_settings(settings)) as server, closing(Company(server.address, server.http)) as company:
            for number, transcript in enumerate(group):
                received = _received(transcript, company, number)
                failed += received.startswith("FAILED")
                rows.append((transcript.client, transcript.version, transcript.transport, transcript.does, received))
    for row in rows:
        print("| " + " | ".join(row) + " |")
        if row is HEAD:
            print("|" + " --- |" * len(HEAD))
    return 1 if failed else 0


def _received(transcript: Transcript, company: Company, number: int) -> str:
    conversation = Conversation(transcript, company, number)
    try:
        conversation.play()
    except (AssertionError, OSError) as error:
        return f"FAILED: {error}"
    return conversation.summary()


if __name__ == "__main__":
    sys.exit(main())
