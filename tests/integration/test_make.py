"""What make does on a machine where something is missing; nothing is installed."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.daemons import ROOT

# As Debian's python3 without python3-venv: what it makes before it notices looks like an environment.
NO_VENV = """#!/bin/sh
case "$*" in
*ensurepip*) exit 1 ;;
"-m venv "*) mkdir -p "$3/bin"; : > "$3/bin/python"; exit 1 ;;
esac
"""


def program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_where_apt_fails_no_half_environment_is_left_for_the_next_make(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    programs = tmp_path / "programs"
    programs.mkdir()
    program(programs / "python", NO_VENV)
    for name in ("apt-get", "sudo"):
        program(programs / name, "#!/bin/sh\nexit 100\n")

    done = subprocess.run(
        ["make", f"PYTHON={programs}/python", ".venv/bin/python"], cwd=tmp_path, check=False, timeout=30,
        env={"PATH": f"{programs}:{os.environ['PATH']}"}, capture_output=True, text=True,
    )  # fmt: skip

    assert done.returncode != 0
    assert "tokd needs Python 3.11 or newer, with its modules" in done.stdout
    assert not (tmp_path / ".venv").exists()
