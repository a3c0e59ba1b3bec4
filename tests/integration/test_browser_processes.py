"""Which processes are a session's: real ones, with the command lines that browsers have."""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.browser.command_line import wipe
from adapters.browser.processes import arguments_of, browser_of
from tests.waiting import wait_until

PROFILE = "/clones/a session/profile"
BECOME = 'read go; exec "$0" -c "import sys; sys.stdin.read()" "--user-data-dir=$1"'


@contextlib.contextmanager
def a_process(*argv: str, executable: str | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(argv, executable=executable, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_arguments_that_were_joined_to_one_text_are_told_apart() -> None:
    switches = ("--no-first-run", f"--user-data-dir={PROFILE}", "--type=utility")
    with a_process(" ".join(["/usr/lib/chromium", *switches]), executable=sys.executable) as process:
        wait_until(lambda: arguments_of(process.pid)[1:] == switches)


def test_a_browser_is_known_by_a_command_line_that_was_joined_to_one_text() -> None:
    with a_process(f"chromium --user-data-dir={PROFILE} --log-level=0", executable=sys.executable) as process:
        assert browser_of(PROFILE, os.getpid()) == process.pid


def test_a_profile_with_a_longer_name_is_another_one() -> None:
    with a_process(f"chromium --user-data-dir={PROFILE} 2 --log-level=0", executable=sys.executable):
        assert browser_of(PROFILE, os.getpid()) is None


def test_a_browser_is_found_that_has_not_become_one_yet() -> None:
    with a_process("sh", "-c", BECOME, sys.executable, PROFILE) as process:
        assert process.stdin is not None
        become = threading.Timer(0.1, os.write, (process.stdin.fileno(), b"go\n"))
        become.start()

        assert browser_of(PROFILE, os.getpid()) == process.pid


# -- what every user may read --------------------------------------------------------------------------------

PROXY = "socks5://127.0.0.1:1080"


def wiped(pid: int) -> bool:
    return wipe(pid, "--proxy-server", PROXY)


@pytest.mark.parametrize("separator", ["\0", " "])
def test_a_value_is_wiped_from_a_command_line_and_nothing_else_of_it(separator: str) -> None:
    words = ["a browser", f"--proxy-server={PROXY}", "--no-first-run"]
    argv = words if separator == "\0" else [" ".join(words)]  # as browsers on a desktop have it
    with a_process(sys.executable, "-c", "import sys; sys.stdin.read()", *argv) as process:
        wait_until(lambda: words[-1] in " ".join(arguments_of(process.pid)))

        assert wiped(process.pid)

        told = Path(f"/proc/{process.pid}/cmdline").read_text().rstrip("\0")
        assert told.endswith(separator.join(["a browser", f"--proxy-server={'*' * len(PROXY)}", *words[2:]]))


def test_a_process_that_is_gone_cannot_be_wiped() -> None:
    with a_process(sys.executable, "-c", "") as process:
        process.wait()

        assert not wiped(process.pid)
