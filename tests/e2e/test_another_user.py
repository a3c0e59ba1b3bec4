"""Another user of this machine finds a daemon closed: what a daemon without a browser has; the row S6 does the rest."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests import another_user
from tests.another_user import Wanted
from tests.brokers import free_port
from tests.daemons import Daemon
from tests.profiles import short_folder

TOKENS = {
    "access_token": "canary-access-Hq82mL",
    "refresh_token": "canary-refresh-Zt61sW",
    "open_id": "open-1",
}

if not another_user.can_be_one():
    pytest.skip("only root can become another user", allow_module_level=True)


@dataclass
class Seen:
    """What another user tried, and could do."""

    wanted: Wanted
    found: dict[str, str]
    shown: list[str]


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with short_folder() as folder:
        folder.chmod(0o755)  # what protects tokd must be tokd's own
        daemon = Daemon(
            folder / "d", {"tiktok.api_base": "http://127.0.0.1:1", "http.port": str(free_port())}
        )
        try:
            daemon.start()
            assert daemon.process is not None
            assert daemon.call("account/import", {"account": "demo", **TOKENS})["status"] == "done"
            issued = str(daemon.call("token/issue", {"user": "ann"})["result"]["text"])
            process = psutil.Process(daemon.process.pid)
            family = [process, *process.children(recursive=True)]
            wanted = another_user.below(daemon.state_dir)
            wanted.pids = [each.pid for each in family]
            wanted.files += [make_open(folder / "open")]
            shown = another_user.told_by(wanted.pids, TOKENS | {"token of HTTP": issued})
            yield Seen(wanted, another_user.tried(wanted), shown)
        finally:
            daemon.kill()


def make_open(path: Path) -> str:
    path.touch()
    path.chmod(0o644)
    return str(path)


def test_there_is_something_of_everything_to_be_tried(seen: Seen) -> None:
    names = {Path(each).name for each in (*seen.wanted.files, *seen.wanted.sockets)}

    assert names >= {"tokd.db", "fernet.keys", "jwt.key", "control.sock"}


def test_nothing_can_be_read_entered_or_looked_into_but_the_file_that_is_open_to_all(seen: Seen) -> None:
    """The open file is there to show that the other user can read at all."""
    assert list(seen.found) == [f"read {seen.wanted.files[-1]}"]


def test_no_process_shows_a_secret(seen: Seen) -> None:
    assert seen.shown == []
