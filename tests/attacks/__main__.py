"""``python -m tests.attacks``: see ``make attacks``. Prints a row for each attack; exits 1 if one succeeded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.attacks.case import FULL

ROOT = Path(__file__).parent.parent.parent
HEAD = f"{'attack':<44} {'sent':>9} {'took':>8} {'memory':>9} {'median':>9} {'worst':>9}"


def main() -> int:
    """Run every attack at its full size, one after the other."""
    with tempfile.NamedTemporaryFile() as file:
        command = [sys.executable, "-m", "nose", "--nologcapture", *(sys.argv[1:] or ["tests/attacks"])]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, FULL: file.name}, check=False).returncode
        rows = [json.loads(line) for line in Path(file.name).read_text().splitlines()]
    print(HEAD)
    for row in rows:
        print(
            f"{row['name']:<44} {row['sent'] / 1e6:6.1f} MB {row['seconds']:6.1f} s {row['growth'] / 1e6:+6.0f} MB"
            f" {row['median_ms']:6.1f} ms {row['worst_ms']:6.0f} ms"
        )
    return code if rows else 1


if __name__ == "__main__":
    sys.exit(main())
