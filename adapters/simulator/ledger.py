"""What the simulator saw, appended to `ledger.jsonl` before the request in question is answered."""

import json
import os
from collections import Counter
from pathlib import Path
from threading import Lock
from typing import Any

_SECTIONS = {
    "init": "inits",
    "range": "ranges",
    "file": "files",
    "publish": "publishes",
    "refresh": "refreshes",
    "webhook": "webhooks",
    "refusal": "refusals",
    "site": "site",
}


class Ledger:
    """An append-only file and its digest in memory. Never holds a token."""

    def __init__(self, path: Path, *, fsync: bool) -> None:
        self._path = path
        self._fsync = fsync
        self._lock = Lock()  # the webhook thread writes here too
        self._forget()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self._read()

    def _forget(self) -> None:
        self._sections: dict[str, list[dict[str, Any]]] = {name: [] for name in _SECTIONS.values()}
        self._calls: Counter[str] = Counter()
        self._done: set[tuple[str, str]] = set()

    def _read(self) -> None:
        content = self._path.read_bytes()
        whole = content.rfind(b"\n") + 1
        os.ftruncate(self._file, whole)  # a line torn by a crash was never answered for
        for line in content[:whole].splitlines():
            self._digest(json.loads(line))

    def _digest(self, entry: dict[str, Any]) -> None:
        kind = entry["kind"]
        body = {key: value for key, value in entry.items() if key != "kind"}
        if kind == "call":
            self._calls[body["endpoint"]] += 1
        elif kind == "retraction":
            self._done.discard(("publish", body["publish_id"]))
            publishes = self._sections["publishes"]
            publishes[:] = [row for row in publishes if row["publish_id"] != body["publish_id"]]
        else:
            self._sections[_SECTIONS[kind]].append(body)
            if kind in {"file", "publish"}:
                self._done.add((kind, body["publish_id"]))

    def write(self, kind: str, **entry: Any) -> None:
        """Append one entry; it is with the operating system when this returns."""
        row = {"kind": kind} | entry
        with self._lock:
            os.write(self._file, json.dumps(row, ensure_ascii=False).encode() + b"\n")
            if self._fsync:
                os.fsync(self._file)
            self._digest(row)

    def write_once(self, kind: str, publish_id: str, **entry: Any) -> None:
        """Append the one entry of its kind that a post can have."""
        if (kind, publish_id) not in self._done:
            self.write(kind, publish_id=publish_id, **entry)

    def retract_publish(self, publish_id: str, time: float) -> None:
        """Note that a forced failure took a publish back."""
        if ("publish", publish_id) in self._done:
            self.write("retraction", publish_id=publish_id, time=time)

    def digest(self) -> dict[str, Any]:
        """Return everything, by section."""
        with self._lock:
            sections: dict[str, Any] = {name: list(rows) for name, rows in self._sections.items()}
            return sections | {"calls": dict(self._calls)}

    def wipe(self) -> None:
        """Start an empty ledger."""
        with self._lock:
            os.ftruncate(self._file, 0)
            self._forget()

    def close(self) -> None:
        """Close the file; safe twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
