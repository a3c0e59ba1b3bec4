"""The independent reader of a crash test: it believes the simulator's ledger and the database file, not the daemon."""

import json
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FINAL = {"published", "sent_to_inbox"}
FINAL_EVENTS = {"dev.tokd.post.published", "dev.tokd.post.sent_to_inbox", "dev.tokd.post.failed"}


@dataclass(frozen=True)
class Ordered:
    """What a test has ordered, and how its init is told from the others: by its size or its address."""

    command: str
    size: int = 0
    sha256: str = ""
    url: str = ""

    @property
    def key(self) -> int | str:
        return self.url or self.size


@dataclass
class Findings:
    """What is wrong, by kind. Everything but `uncertain` and `orphans` must be empty after a good run."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    second_inits: list[str] = field(default_factory=list)
    wrong_bytes: list[str] = field(default_factory=list)
    wrong_words: list[str] = field(default_factory=list)  # the database says what the ledger denies
    unjust_doubts: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # database or sequence of events
    uncertain: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)  # inits that were repeated before any byte had left

    @property
    def wrong(self) -> dict[str, list[str]]:
        """Return the kinds of trouble there are."""
        return {
            name: found
            for name, found in vars(self).items()
            if found and name not in {"uncertain", "orphans"}
        }

    def __str__(self) -> str:
        counts = (f"{name} {len(found)}" for name, found in vars(self).items())
        return ", ".join(counts)


class Books:
    """The simulator's ledger and the daemon's database, read side by side."""

    def __init__(self, ledger: dict[str, Any], database: Path) -> None:
        self._inits: dict[int | str, list[dict[str, Any]]] = {}
        for init in ledger["inits"]:
            source = init["source_info"]
            photo = next(iter(source.get("photo_images", ())), None)
            key = photo or source.get("video_url") or source.get("video_size")
            self._inits.setdefault(key, []).append(init)
        self._publishes = Counter(row["publish_id"] for row in ledger["publishes"])
        self._sha256 = {row["publish_id"]: row["sha256"] for row in ledger["publishes"]}
        self._touched = {row["publish_id"] for row in ledger["ranges"]}
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            connection.row_factory = sqlite3.Row
            read = connection.execute
            self._commands = read("SELECT * FROM command").fetchall()
            self._posts = read("SELECT * FROM post").fetchall()
            self._attempts = read("SELECT * FROM attempt ORDER BY post, number").fetchall()
            self.events = [
                json.loads(row["payload"])
                for row in read("SELECT payload FROM outbox WHERE sequence IS NOT NULL ORDER BY sequence")
            ]
            self._integrity = [row[0] for row in read("PRAGMA integrity_check")]
            self._foreign = read("PRAGMA foreign_key_check").fetchall()

    def inits_of(self, order: Ordered) -> list[dict[str, Any]]:
        """Return the inits that the simulator saw of this order."""
        return self._inits.get(order.key, [])

    def post_of(self, order: Ordered) -> sqlite3.Row | None:
        """Return the order's one post."""
        found = [row for row in self._posts if row["command_id"] == order.command]
        return found[0] if len(found) == 1 else None

    def account_events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == f"dev.tokd.{kind}"]

    def check(self, orders: list[Ordered]) -> Findings:
        """Compare both books, order by order."""
        found = Findings()
        self._check_database(found)
        for order in orders:
            self._check_order(order, found)
        return found

    def _check_database(self, found: Findings) -> None:
        if self._integrity != ["ok"] or self._foreign:
            found.broken.append(f"integrity {self._integrity}, foreign keys {self._foreign}")
        sequences = [int(event["sequence"]) for event in self.events]
        if sequences != list(range(1, len(sequences) + 1)):
            found.broken.append(f"the sequence has holes: {sequences[:5]} ... {sequences[-5:]}")
        ids = Counter((row["actor"], row["command_id"]) for row in self._commands)
        found.broken += [f"command {key} stands twice" for key, number in ids.items() if number > 1]

    def _check_order(self, order: Ordered, found: Findings) -> None:
        posts = [row for row in self._posts if row["command_id"] == order.command]
        inits = self.inits_of(order)
        publishes = sum(self._publishes[init["publish_id"]] for init in inits)
        name = f"{order.command} ({order.key})"
        if len(posts) != 1:
            (found.lost if not posts else found.doubled).append(f"{name}: {len(posts)} posts")
            return
        post = posts[0]
        self._check_inits(order, inits, found)
        if publishes > 1:
            found.doubled.append(f"{name}: published {publishes} times")
        if post["state"] == "uncertain":
            found.uncertain.append(name)
            if not self._is_unknowable(post):
                found.unjust_doubts.append(f"{name}: {post['reason']}: {post['detail']}")
        elif post["state"] not in FINAL:
            found.lost.append(f"{name}: {post['state']} {post['reason']}: {post['detail']}")
        elif publishes != 1:
            found.wrong_words.append(f"{name}: {post['state']}, and the ledger has {publishes} publishes")
        elif order.sha256 and [self._sha256[post["publish_id"]]] != [order.sha256]:
            found.wrong_bytes.append(name)
        finals = [
            event for event in self.events
            if event["type"] in FINAL_EVENTS and event["data"].get("post") == post["id"]
        ]  # fmt: skip
        if post["state"] in FINAL and len(finals) != 1:
            found.wrong_words.append(f"{name}: {len(finals)} final events")

    def _check_inits(self, order: Ordered, inits: list[dict[str, Any]], found: Findings) -> None:
        if len(inits) < 2:
            return
        # A repeated init is allowed for a file alone, and only where the earlier ones have seen no byte.
        name = f"{order.command} ({order.key})"
        touched = [init for init in inits if init["publish_id"] in self._touched]
        if order.url or len(touched) > 1:
            found.second_inits.append(f"{name}: {len(inits)} inits, {len(touched)} with bytes")
        else:
            found.orphans += [f"{name}: {init['publish_id']}" for init in inits if init not in touched]

    def _is_unknowable(self, post: sqlite3.Row) -> bool:
        """Tell whether the last attempt's init left and its answer is not known, where the init publishes."""
        last = [row for row in self._attempts if row["post"] == post["id"]][-1]
        return post["source"] == "url" and last["init_sent_at"] is not None and last["publish_id"] is None
