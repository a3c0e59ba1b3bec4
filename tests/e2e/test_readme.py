"""The README's walk with curl: its own lines, run in a shell beside a tokd that was started as `make run` starts it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.brokers import free_port
from tests.daemons import ROOT, Daemon, make_clip
from tests.e2e.doors import await_port
from tests.e2e.session_stage import BARE, QUICK
from tests.integration import browser_stage
from tests.profiles import short_folder
from tests.readme import fenced, run_options

TIMED_OUT = 28  # curl's word for the end of `-m 2`: a stream of events has no end of its own


@dataclass
class Walk:
    """What the shell said, and the status of each answer in its order."""

    code: int
    out: str
    error: str
    statuses: list[int]


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture(scope="module")
def walk() -> Iterator[Walk]:
    with short_folder() as folder, browser_stage.screen() as screen:
        port = str(free_port())
        home = folder / "home"
        home.mkdir()
        daemon = Daemon(folder)
        # As `make run` has it, but for the port, and for what keeps a browser of the tests on this machine.
        daemon.settings = {"http.port": port, "session.browser_args": QUICK["session.browser_args"]}
        daemon.options = run_options()
        daemon.environ = BARE | {"DISPLAY": screen.name, "HOME": str(home)}
        make_clip(folder / "clip.mp4")
        script(folder / ".venv" / "bin" / "tokd", f'PYTHONPATH={ROOT} exec {sys.executable} -m daemon "$@"')
        # It is curl all the same, and notes the head of each answer.
        script(
            folder / "bin" / "curl",
            f'head=$(mktemp {folder}/head-XXXXXX); PATH="{os.environ["PATH"]}" curl -D "$head" "$@"; code=$?\n'
            f'head -n 1 "$head" >> {folder}/statuses; exit $code',
        )
        try:
            daemon.start()
            await_port(int(port))
            lines = fenced("\n## With curl\n")
            done = subprocess.run(
                ["bash", "-u"], input=lines, cwd=folder, capture_output=True, text=True, timeout=60, check=False,
                env={"PATH": f"{folder}/bin:{os.environ['PATH']}", "TOKD_HTTP__PORT": port, "LANG": "C.UTF-8"},
            )  # fmt: skip
            statuses = [int(line.split()[1]) for line in (folder / "statuses").read_text().splitlines()]
            yield Walk(done.returncode, done.stdout, done.stderr, statuses)
        finally:
            daemon.stop()
            daemon.kill()


def test_every_line_is_answered_as_it_should_be(walk: Walk) -> None:
    assert walk.statuses == [201, 200, 200, 200, 200, 200, 200], walk.error


def test_nothing_but_the_streams_own_end_fails(walk: Walk) -> None:
    assert walk.code == TIMED_OUT
    assert walk.error.strip().startswith("token k_")
    assert len(walk.error.strip().splitlines()) == 1


def test_the_walk_shows_the_post_the_session_and_all_their_events(walk: Walk) -> None:
    assert '"state":"scheduled"' in walk.out
    assert '"state":"cancelled"' in walk.out
    assert '"kind":"login"' in walk.out
    told = re.findall(r'"type":"dev\.tokd\.((?:post|session)\.\w+)"', walk.out)
    assert told[:2] == ["post.scheduled", "post.cancelled"]
    assert {"session.requested", "session.opened"} <= set(told)  # its end may come after the two seconds
