"""Everything the simulator knows, in memory, with each change written through to one SQLite file."""

import json
import sqlite3
import time
from pathlib import Path
from typing import Any, TypeVar

from .options import Settings, SimulatorOptions
from .records import Code, Post, Record, SiteLogin, Token, User

R = TypeVar("R", bound=Record)
_SCHEMA = "CREATE TABLE IF NOT EXISTS record (kind TEXT, key TEXT, body TEXT, PRIMARY KEY (kind, key))"


class State:
    """Users, codes, tokens, logins of the website, posts, changed settings and the clock's shift."""

    def __init__(self, state_dir: Path, options: SimulatorOptions) -> None:
        self._options = options
        self._rows = sqlite3.connect(
            state_dir / "state.sqlite3", isolation_level=None, check_same_thread=False
        )
        # A killed process loses nothing with synchronous=OFF; only a dying machine could.
        self._rows.execute("PRAGMA journal_mode=WAL")
        self._rows.execute("PRAGMA synchronous=OFF")
        self._rows.execute(_SCHEMA)
        self._load()

    def _load(self) -> None:
        self.users = {user.key: user for user in self._records(User)}
        self.codes = {code.key: code for code in self._records(Code)}
        self.tokens = {token.key: token for token in self._records(Token)}
        self.site_logins = {login.key: login for login in self._records(SiteLogin)}
        self.posts: dict[str, Post] = {}
        self.posts_of: dict[str, list[Post]] = {}
        self.uploads: dict[str, Post] = {}
        for post in self._records(Post):
            self._index(post)
        self._overrides: dict[str, Any] = self._value("settings", {})
        self._clock_shift: float = self._value("clock_shift", 0.0)
        self.settings = self._settings_with(self._overrides)
        for name in self._options.users:
            if name not in self.users:
                self.put(User.named(name, private=True))

    def _records(self, model: type[R]) -> list[R]:
        rows = self._rows.execute("SELECT body FROM record WHERE kind = ? ORDER BY rowid", (model.kind,))
        return [model.model_validate_json(body) for (body,) in rows]

    def _value(self, name: str, default: Any) -> Any:
        row = self._rows.execute(
            "SELECT body FROM record WHERE kind = 'value' AND key = ?", (name,)
        ).fetchone()
        return default if row is None else json.loads(row[0])

    def _write(self, kind: str, key: str, body: str) -> None:
        self._rows.execute(
            "INSERT INTO record VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body",
            (kind, key, body),
        )

    def _index(self, post: Post) -> None:
        if post.key not in self.posts:
            self.posts_of.setdefault(post.user, []).append(post)
        self.posts[post.key] = post
        if post.upload_id is not None:
            self.uploads[post.upload_id] = post

    def put(self, record: Record) -> None:
        """Remember a new or changed record, on disk before this returns."""
        match record:
            case User():
                self.users[record.key] = record
            case Code():
                self.codes[record.key] = record
            case Token():
                self.tokens[record.key] = record
            case SiteLogin():
                self.site_logins[record.key] = record
            case Post():
                self._index(record)
        self._write(record.kind, record.key, record.model_dump_json())

    def drop(self, record: Code | Token | SiteLogin) -> None:
        """Forget a spent code, a dead token or an ended login."""
        match record:
            case Code():
                self.codes.pop(record.key, None)
            case Token():
                self.tokens.pop(record.key, None)
            case SiteLogin():
                self.site_logins.pop(record.key, None)
        self._rows.execute("DELETE FROM record WHERE kind = ? AND key = ?", (record.kind, record.key))

    def tokens_of(self, user: str, use: str | None = None) -> list[Token]:
        """Return the user's tokens, of one use or of both."""
        return [token for token in self.tokens.values() if token.user == user and use in {None, token.use}]

    def now(self) -> float:
        """Return the simulator's idea of the time."""
        return time.time() + self._clock_shift

    def advance_clock(self, seconds: float) -> None:
        """Shift the simulator's idea of the time."""
        self._clock_shift += seconds
        self._write("value", "clock_shift", json.dumps(self._clock_shift))

    def _settings_with(self, overrides: dict[str, Any]) -> Settings:
        return Settings.model_validate(self._options.settings.model_dump() | overrides)

    def change_settings(self, changes: dict[str, Any]) -> None:
        """Apply changes, all or none; raises ValidationError on a wrong one."""
        overrides = self._overrides | changes
        self.settings = self._settings_with(overrides)
        self._overrides = overrides
        self._write("value", "settings", json.dumps(overrides))

    def wipe(self) -> None:
        """Go back to what the options say."""
        self._rows.execute("DELETE FROM record")
        self._load()

    def close(self) -> None:
        """Close the file; safe twice."""
        self._rows.close()
