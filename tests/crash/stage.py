"""What crash tests share: one simulator, one broker, a daemon folder with linked accounts, clips of unique size."""

import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.brokers import Broker
from tests.crash.ledgers import Ordered
from tests.daemons import Caller, Daemon, Simulator, make_clip
from tests.waiting import wait_until

PREFIX = "https://media.example.com/"
UNLIMITED = {
    "rate_limits": False, "daily_posts": None, "pending_shares": None, "active_users": None,
    "processing_seconds": 0.05,
}  # fmt: skip
SETTINGS = {
    "tiktok.chunk_size": "5000000",
    "tiktok.single_chunk_max": "10000000",
    "tiktok.rate_creator_per_min": "600",
    "tiktok.rate_init_per_min": "600",
    "tiktok.rate_status_per_min": "600",
    "media.verified_prefixes": json.dumps([PREFIX]),
}
PATIENCE_S = 45.0


class Clips:
    """Videos, no two of the same length, so that the simulator's ledger tells which is which."""

    def __init__(self, folder: Path, numbers: "itertools.count[int]") -> None:
        self._folder = folder
        self._numbers = numbers
        self._made: dict[int, bytes] = {}

    def make(self, daemon: Daemon, size: int) -> tuple[str, Ordered]:
        """Write a clip of about `size` bytes, no other one as long; return its name and what to look for."""
        number = next(self._numbers)
        if size not in self._made:
            self._made[size] = make_clip(self._folder / f"clip-{size}.mp4", pad_to=size).read_bytes()
        padding = os.urandom(number)
        content = self._made[size] + (8 + number).to_bytes(4, "big") + b"free" + padding
        name = f"clip-{number}.mp4"
        (daemon.media / name).write_bytes(content)
        return name, Ordered(f"order-{number}", len(content), hashlib.sha256(content).hexdigest())


class Stage:
    """Made once for a module; every test gets a daemon folder, topics and a client id of its own.

    With `persistence` the broker has most of what it had after a kill.
    """

    def __init__(
        self,
        folder: Path,
        accounts: tuple[str, ...] = ("demo",),
        *,
        root: Path | None = None,
        persistence: bool = False,
    ) -> None:
        self.folder = folder
        self._root = {"root": root} if root else {}
        self._numbers = itertools.count(1)
        users = [part for name in accounts for part in ("--user", name)]
        self.simulator = Simulator(folder / "simulator", *users)
        self.simulator.post("settings", UNLIMITED)
        kept = ("persistence true", f"persistence_location {folder / 'broker'}/", "autosave_on_changes true")
        # Every 20 changes: at each one it would write all it has, and do nothing else in a long campaign.
        options = (*kept, "autosave_interval 20") if persistence else ()
        self.broker = Broker(folder / "broker", options=options)
        self.broker.start()
        self._clips = Clips(folder, self._numbers)
        self._template = folder / "template"
        self._link(accounts)

    def close(self) -> None:
        self.simulator.stop()
        self.broker.close()

    def _link(self, accounts: tuple[str, ...]) -> None:
        daemon = Daemon(self._template, SETTINGS, **self._root).use_simulator(self.simulator).start()
        for name in accounts:
            daemon.link(self.simulator, name)
        assert daemon.stop() == 0, daemon.tail()

    def daemon(self, folder: Path, settings: dict[str, str] | None = None) -> Daemon:
        """Return a daemon that is not started, with every account linked, at the shared broker."""
        name = f"n{next(self._numbers)}"
        own = {"mqtt.prefix": f"{name}/tokd", "mqtt.client_id": f"tokd-{name}", "mqtt.will_delay_s": "0"}
        daemon = Daemon(folder, SETTINGS | own | (settings or {}), **self._root)
        shutil.copytree(
            self._template / "state", daemon.state_dir, ignore=shutil.ignore_patterns("*.sock", "lock"),
            dirs_exist_ok=True,  # it may be a file system of its own
        )  # fmt: skip
        return daemon.use_simulator(self.simulator).use_broker(self.broker.port)

    def caller(self, daemon: Daemon, actor: str = "me", **options: Any) -> Caller:
        """Return a caller on the daemon's topics."""
        return Caller(self.broker.port, actor, prefix=f"{daemon.settings['mqtt.prefix']}/v1/main", **options)

    def clip(self, daemon: Daemon, size: int) -> tuple[str, Ordered]:
        """Write a clip as `Clips.make` does."""
        return self._clips.make(daemon, size)

    def address(self) -> Ordered:
        """Return an address nobody has ordered yet."""
        number = next(self._numbers)
        return Ordered(f"order-{number}", url=f"{PREFIX}{number}.mp4")


def wait_online(caller: Caller, daemon: Daemon) -> None:
    """Wait until the daemon says that it is there, or is dead."""

    def look() -> bool:
        assert daemon.process is not None
        online = (f"{caller.prefix}/availability", b"online", False)
        return online in caller.messages or daemon.process.poll() is not None

    wait_until(look, PATIENCE_S, what="the daemon online")


def insist(
    caller: Caller, verb: str, args: dict[str, Any], command_id: str, **envelope: Any
) -> dict[str, Any]:
    """Return the final reply, asking again with the same id every two seconds as real callers do."""
    for _ in range(int(PATIENCE_S / 2)):
        caller.send(verb, args, id=command_id, **envelope)
        found = wait_or_none(lambda: caller.final(command_id), 2.0)
        if found is not None:
            return found
    raise AssertionError(f"no final reply to {verb} {command_id}")


def wait_or_none(look: Callable[[], Any], within_s: float) -> Any:
    """Return what `look` finds, or None after the time."""
    try:
        return wait_until(look, within_s)
    except AssertionError:
        return None


def told(caller: Caller, *kinds: str) -> list[dict[str, Any]]:
    """Return the events of these kinds that the caller has heard."""
    names = {f"dev.tokd.{kind}" for kind in kinds}
    return [event for event in caller.events() if event["type"] in names]
