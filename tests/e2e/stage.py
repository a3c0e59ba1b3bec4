"""A simulator, a broker and a daemon, each in its own process, put up for a module of end-to-end tests."""

import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.brokers import Broker
from tests.daemons import Caller, Daemon, Simulator
from tests.waiting import wait_until

VERIFIED = "https://cdn.example.com/v/"
FINAL = ("published", "sent_to_inbox", "failed", "cancelled")
# The simulator keeps the documented limits; a module with many posts switches them off on both sides.
LIMITLESS = {
    "rate_limits": False,
    "daily_posts": None,
    "pending_shares": None,
    "active_users": None,
    "processing_seconds": 0,
}
BUSY = {
    "daemon.workers": "16",
    "media.verified_prefixes": json.dumps([VERIFIED]),
    "tiktok.rate_creator_per_min": "600",
    "tiktok.rate_init_per_min": "600",
    "tiktok.rate_status_per_min": "600",
}
# 12 MB are two pieces then, 16 MB three.
SMALL_CHUNKS = {"tiktok.single_chunk_max": "10000000", "tiktok.chunk_size": "5000000"}

_KINDS = {"inits": "init", "ranges": "range", "files": "file", "publishes": "publish", "refreshes": "refresh"}
_numbers = itertools.count(1)


class Stage:
    """The three of them, and what tests ask of them again and again."""

    def __init__(self, folder: Path, simulator: Simulator, daemon: Daemon, broker: Broker | None) -> None:
        self.folder = folder
        self.simulator = simulator
        self.daemon = daemon
        self._broker = broker

    @property
    def broker(self) -> Broker:
        assert self._broker is not None
        return self._broker

    def caller(self, actor: str = "me", **options: Any) -> Caller:
        return Caller(self.broker.port, actor, **options)

    def account(self, name: str = "", **user: Any) -> str:
        """Link a fresh private account, and return its name once its creator has been read."""
        name = name or f"user{next(_numbers)}"
        self.add_user(name, **user)
        reply = self.daemon.link(self.simulator, name)
        assert reply["status"] == "done", reply
        self.wait_creators(name)
        return name

    def add_user(self, name: str, **user: Any) -> None:
        self.simulator.post("users", {"name": name, "private": True} | user)

    def link_all(self, names: Iterable[str]) -> None:
        """Link many fresh private accounts."""
        found = list(names)
        for name in found:
            self.add_user(name)
            assert self.daemon.link(self.simulator, name)["status"] == "done"
        self.wait_creators(*found)

    def accounts(self) -> dict[str, dict[str, Any]]:
        listed = self.daemon.call("account/list")["result"]["accounts"]
        return {account["account"]: account for account in listed}

    def account_row(self, name: str) -> dict[str, Any]:
        """Read from the ledger how an account stands: the list tells it of all of them, each time."""
        [(login, enabled)] = self.daemon.rows(f"SELECT login, enabled FROM account WHERE name = '{name}'")
        return {"login": login, "enabled": bool(enabled)}

    def wait_creators(self, *names: str) -> None:
        """Wait for the read that follows a link, so that it does not meet a fault meant for another call."""
        query = "SELECT name FROM account WHERE creator IS NOT NULL"
        wait_until(
            lambda: {name for (name,) in self.daemon.rows(query)} >= set(names),
            30,
            0.05,
            what=f"creators of {names}",
        )

    def fault(self, user: str, endpoint: str, action: str, **more: Any) -> None:
        self.simulator.faults({"user": user, "endpoint": endpoint, "action": action, **more})

    def schedule(self, account: str, **args: Any) -> str:
        """Schedule for now and return the post's id."""
        reply = self.daemon.schedule(account=account, **args)
        assert reply["status"] == "done", reply
        return str(reply["result"]["post"])

    def schedule_pull(self, account: str, **args: Any) -> str:
        return self.schedule(account, media=None, url=f"{VERIFIED}clip.mp4", **args)

    def schedule_photos(self, account: str, **args: Any) -> str:
        return self.schedule(account, media=None, photos=[f"{VERIFIED}1.jpg", f"{VERIFIED}2.jpg"], **args)

    def seen(self, kind: str, account: str) -> list[dict[str, Any]]:
        """Return the simulator's ledger entries of one kind for one user, from its file: the console would send all."""
        mine = f'"account": "{account}"'.encode()
        lines = (self.folder / "simulator" / "ledger.jsonl").read_bytes().splitlines()
        rows = [json.loads(line) for line in lines if mine in line or b'"kind": "retraction"' in line]
        found = [row for row in rows if row["kind"] == _KINDS[kind]]
        gone = (
            {row["publish_id"] for row in rows if row["kind"] == "retraction"} if kind == "publishes" else ()
        )
        return [row for row in found if row.get("publish_id") not in gone]

    def events_of(self, post: str) -> list[str]:
        """Return the types of a post's events in order, without progress."""
        found = [event["type"].removeprefix("dev.tokd.post.") for event in self.post_events(post)]
        return [kind for kind in found if kind != "progress"]

    def post_events(self, post: str) -> list[dict[str, Any]]:
        """Read a post's events from the outbox: quicker than a replay where there are thousands."""
        rows = self.daemon.rows(
            "SELECT payload FROM outbox WHERE kind = 'event' "
            f"AND json_extract(payload, '$.subject') = 'post/{post}' ORDER BY sequence"
        )
        return [json.loads(payload) for (payload,) in rows]

    def column(self, post: str, name: str) -> Any:
        """Read one column of a post's row, as an independent reader of the database."""
        return self.daemon.rows(f"SELECT {name} FROM post WHERE id = '{post}'")[0][0]

    def assert_published_once(self, post: str, account: str, *, inits: int = 1) -> dict[str, Any]:
        """Wait for the end; the ledger must show one publish and that many inits of this account."""
        found = self.daemon.wait_state(post, "published", within_s=60)
        assert len(self.seen("inits", account)) == inits
        assert len(self.seen("publishes", account)) == 1
        return found

    def is_alive(self) -> bool:
        reply = self.daemon.call("system/ping")
        return reply["status"] == "done"


@contextlib.contextmanager
def staged(
    folder: Path,
    settings: dict[str, str] | None = None,
    *,
    with_broker: bool = False,
    options: dict[str, Any] | None = None,
    start: bool = True,
    flags: tuple[str, ...] = ("--discard-uploads",),
) -> Iterator[Stage]:
    """Put up a simulator without limits, a daemon and, if wanted, a broker; end them all."""
    with contextlib.ExitStack() as stack:
        simulator = Simulator(folder / "simulator", *flags)
        stack.callback(simulator.stop)
        simulator.post("settings", LIMITLESS | (options or {}))
        daemon = Daemon(folder / "tokd", BUSY | (settings or {})).use_simulator(simulator)
        broker = None
        if with_broker:
            broker = Broker(folder / "broker")
            stack.callback(broker.close)
            broker.start()
            daemon.use_broker(broker.port)
        stack.callback(daemon.kill)
        if start:
            daemon.start()
        yield Stage(folder, simulator, daemon, broker)
        daemon.check_protocol()
