"""What the README tells a newcomer to type, for tests that type it."""

import re
import shlex
import subprocess

from tests.daemons import ROOT


def fenced(after: str, before: str = "\n## ") -> str:
    """Return the fenced lines that follow the first mention of a text, up to another one."""
    section = (ROOT / "README.md").read_text().split(after, 1)[1].split(before)[0]
    found = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(found[0])


def words_of_tokd(lines: str) -> list[list[str]]:
    """Return the words after `.venv/bin/tokd` of each line that begins with it."""
    found = [shlex.split(line, comments=True) for line in lines.splitlines()]
    return [words[1:] for words in found if words[:1] == [".venv/bin/tokd"]]


def run_options() -> tuple[str, ...]:
    """Return with what `make run` starts the daemon, from its recipe."""
    told = subprocess.run(["make", "-n", "run"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (found,) = re.findall(r"^exec \.venv/bin/tokd run (.*)$", told, re.MULTILINE)
    return tuple(shlex.split(found))
