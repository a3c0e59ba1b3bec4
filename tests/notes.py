"""What a test has done to the program, told to whoever counts it: `SCORECARD_NOTES` names a file of JSON lines.

The name does not begin with TOKD_: the daemon would take it for a setting and refuse to start.
"""

import json
import os
from pathlib import Path
from typing import Any


def note(faults: dict[str, int] | None = None, **counts: int) -> None:
    """Add faults by kind, and other counts by name, to the file; without one, do nothing."""
    path = os.environ.get("SCORECARD_NOTES")
    if path:
        line: dict[str, Any] = {"faults": faults or {}, **counts}
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
