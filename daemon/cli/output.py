"""What is printed: rich on a terminal, plain lines elsewhere, JSON where it is asked for."""

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_CONTROLS = re.compile(r"[\x7f-\x9f]")
_NAME = "tokd"
_COMMAND = re.compile(r"`tokd (?=[a-z])")

HINTS = {
    "id_conflict": "leave --id out to send a new order",
    "media_missing": "`tokd config show` lists the media roots; a path may be absolute or below a root",
    "media_outside_roots": "move the file below one of [media] roots, or add its folder there",
    "no_such_account": "`tokd account list` shows the linked accounts",
    "no_such_link": "`tokd account link NAME` begins a new one",
    "no_such_post": "`tokd post list` shows the posts",
    "no_such_task": "`tokd task list` shows the tasks",
    "not_configured": "`tokd doctor` says what is missing",
    "bad_time": "write +10m, now, or 2026-12-01T18:00:00+01:00; a local time needs --zone Europe/Berlin",
    "busy": "try again in a moment",
    "safe_mode": "`tokd doctor` says more",
    "shutting_down": "send it again with the same --id when tokd is back",
    "id_required": 'add "id": "a name of your own"',
    "unknown_command": "`tokd send system/describe` lists all of them",
    "already_final": "`tokd post show POST` tells how it ended",
    "already_posted": "`tokd task show TASK` tells what became of it",
    "no_such_token": "`tokd token list` shows the tokens",
    "no_such_session": "`tokd session list` shows those that are open, with --ended those that were",
    "session_busy": "`tokd session list` tells its state",
    "session_limit": "`tokd session list` shows them; `tokd session close SESSION` closes one",
    "session_timeout": "session.creation_timeout is how long it may take; the log says how far it came",
    "no_such_profile": "`tokd profile list` shows the profiles",
    "not_logged_in": "--no-require-login opens the window all the same",
    "login_uncertain": "--no-require-login opens the window all the same, so that you can look",
    "challenge": "only you may answer it: open the session with a window, --no-headless",
    "user_data_locked": "`tokd profile list` tells who uses it",
    "no_browser": "`tokd doctor` says what is missing",
    "driver_mismatch": "`tokd doctor` says which versions were found",
    "no_display": "`tokd doctor` says what was tried; --headless needs no screen, and nobody can browse then",
    "keyring_unreachable": "`tokd doctor` says what was tried",
    "disk_full": "make room, or lower session.min_free_mb",
}


def clean(value: object) -> str:
    """Return a text that cannot move the cursor or colour the terminal: it may come from anybody."""
    text = value if isinstance(value, str) else as_text(value)
    return "".join(
        letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text
    )


def as_text(value: object) -> str:
    """Return a value as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ", ".join(map(str, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def as_size(count: int) -> str:
    """Return a number of bytes as people read it."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def is_terminal() -> bool:
    """Tell whether a person is likely to read what is printed."""
    return Console().is_terminal


def program() -> str:
    """Return what to type for this program: as it was called, where a shell does not find it by its name."""
    called = Path(sys.argv[0])
    is_by_path = called.name == _NAME and "/" in sys.argv[0]
    return shlex.quote(sys.argv[0]) if is_by_path and shutil.which(_NAME) is None else _NAME


def as_typed(text: str) -> str:
    """Return a text whose commands can be copied from here: all of ours stand in backticks."""
    return _COMMAND.sub(lambda _: f"`{program()} ", text)


def say(text: str, *, error: bool = False, style: str = "") -> None:
    """Print one line or more, to standard error if it is none of the result."""
    console, text = Console(stderr=error), clean(as_typed(text))
    if console.is_terminal:
        console.print(Text(text, style), soft_wrap=True)
    else:
        print(text, file=sys.stderr if error else sys.stdout, flush=True)


def print_json(value: object) -> None:
    """Print one line of JSON."""
    line = json.dumps(value, ensure_ascii=False)
    print(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", line), flush=True)


def print_fields(fields: Mapping[str, Any]) -> None:
    """Print name and value, one pair on a line."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        say(f"{name.replace('_', ' '):<{width}}  {as_text(value)}".rstrip())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print rows: a table on a terminal, tab-separated lines elsewhere."""
    found = [[clean(cell) for cell in row] for row in rows]
    if not is_terminal():
        for row in found:
            print("\t".join(cell.replace("\t", " ").replace("\n", " ") for cell in row))
        return
    if not found:
        say(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in found:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def print_refusal(error: Mapping[str, Any]) -> None:
    """Print a reply's error on standard error: what, where, its code, what to do."""
    code = str(error.get("code", "internal"))
    say(f"refused: {error.get('message', 'no reason given')}", error=True, style="red")
    if error.get("field"):
        say(f"  field: {error['field']}", error=True)
    say(f"  code:  {code}", error=True)
    problems = error.get("problems") or ()
    for problem in problems:
        say(f"  - {problem.get('code')}: {problem.get('message')}", error=True)
        if problem.get("hint"):
            say(f"    hint: {problem['hint']}", error=True)
    hint = HINTS.get(code, "")
    if hint and not any(problem.get("hint") for problem in problems):
        say(f"  hint:  {hint}", error=True)
    if error.get("retry_after_s") is not None:
        say(f"  try again in {error['retry_after_s']} s", error=True)
