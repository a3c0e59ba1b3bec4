"""Node and its packages, for tests that look at tokd from another language."""

import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "node"


def node() -> str:
    """Return the program. Raises RuntimeError: a test without its client must not pass."""
    found = shutil.which("node")
    if found is None or not (FOLDER / "node_modules" / "mqtt").is_dir():
        raise RuntimeError("node or its packages are missing: make node-ready")
    return found


def run_node(
    script: str, *args: str, text: str = "", within_s: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run one of our scripts to its end."""
    return subprocess.run(
        [node(), str(FOLDER / script), *args],
        input=text,
        capture_output=True,
        text=True,
        timeout=within_s,
        check=False,
    )
