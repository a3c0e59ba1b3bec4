"""The launcher: a shell script between us and the browser, because undetected-chromedriver starts it its own way.

It drops switches that undetected-chromedriver forces on the browser, gives it a file instead of pipes that nobody
reads (a full pipe freezes the browser), and ties its life to ours.
"""

import os
import tempfile
from pathlib import Path

_SCRIPT = """\
#!/bin/sh
# Written by tokd at every start; changes are lost.
browser=$TOKD_BROWSER log=$TOKD_BROWSER_LOG death=$TOKD_DEATH_SIGNAL sandbox=$TOKD_SANDBOX headless=$TOKD_HEADLESS
unset TOKD_BROWSER TOKD_BROWSER_LOG TOKD_DEATH_SIGNAL TOKD_SANDBOX TOKD_HEADLESS
for argument do
    shift
    case "$sandbox:$argument" in
    on:--no-sandbox | on:--test-type | *:--lang=*) ;;
    *) set -- "$@" "$argument" ;;
    esac
done
[ "$headless" = on ] && set -- --headless=new "$@"
exec </dev/null >>"$log" 2>&1
command -v setpriv >/dev/null && exec setpriv --pdeathsig "$death" "$browser" "$@"
exec "$browser" "$@"
"""


def ensure_wrapper(folder: Path) -> Path:
    """Return the script, written anew where it is missing or differs. Raises OSError."""
    path = folder / "launch"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        if path.read_text(encoding="utf-8") == _SCRIPT and os.access(path, os.X_OK):
            return path
    except (OSError, UnicodeDecodeError):
        pass
    handle, draft = tempfile.mkstemp(dir=folder, prefix="launch.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(_SCRIPT)
        os.fchmod(file.fileno(), 0o700)
    Path(draft).replace(path)
    return path


def wrapper_environ(
    *, browser: Path, log: Path, death_signal: str, is_sandboxed: bool, is_headless: bool
) -> dict[str, str]:
    """Return what the script wants to know."""
    return {
        "TOKD_BROWSER": str(browser),
        "TOKD_BROWSER_LOG": str(log),
        "TOKD_DEATH_SIGNAL": death_signal,
        "TOKD_SANDBOX": "on" if is_sandboxed else "off",
        "TOKD_HEADLESS": "on" if is_headless else "off",
    }
