"""Between rows and values: every column is written and read here, and nowhere else."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.domain.account import Account, Creator, Login
from daemon.domain.addresses import shown_url
from daemon.domain.errors import AccountUnreadable
from daemon.domain.events import as_json
from daemon.domain.ids import AccountName, Actor, NodeName, PostId, TaskId
from daemon.domain.media import MediaFacts
from daemon.domain.post import FINAL, Attempt, Consent, Description, Kind, LateRule, Mode, Post, Source, State
from daemon.ports import Outgoing, StoredCommand

Row = Mapping[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# What reading a row raises where a bit has turned in it, say.
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError)


def micros(instant: datetime | None) -> int | None:
    """Return microseconds since 1970."""
    return None if instant is None else (instant - _EPOCH) // _MICROSECOND


def instant(value: int | None) -> datetime | None:
    """Return the aware UTC instant."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def _set(value: int | None) -> datetime:
    return _EPOCH + timedelta(microseconds=value or 0)


def _tuple_fields(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return values | {name: tuple(values[name]) for name in names}


def post_values(post: Post) -> dict[str, Any]:
    """Return the columns of a post."""
    return {
        "id": post.id,
        "node": post.node,
        "account": post.account,
        "platform": post.platform,
        "mode": post.mode.value,
        "kind": post.kind.value,
        "source": post.source.value,
        "media": as_json(post.media),
        "facts": as_json(post.facts.as_dict()) if post.facts else None,
        "sha256": post.facts.sha256 if post.facts else None,
        "description": as_json(asdict(post.description)),
        "consent": as_json(asdict(post.consent)),
        "due_at": micros(post.due_at),
        "zone": post.zone,
        "late_rule": post.late_rule.value,
        "late_after_s": post.late_after_s,
        "created_at": micros(post.created_at),
        "command_id": post.command_id,
        "task": post.task,
        **moving_values(post),
    }


def moving_values(post: Post) -> dict[str, Any]:
    """Return the columns of a post that change after it was made."""
    # A signed address is a password, and nobody needs it any more.
    over = post.state in FINAL and post.source is Source.URL
    media = {"media": as_json([shown_url(url) for url in post.media])} if over else {}
    return media | {
        "due_at": micros(post.due_at),
        "zone": post.zone,
        "late_rule": post.late_rule.value,
        "late_after_s": post.late_after_s,
        "state": post.state.value,
        "state_since": micros(post.state_since),
        "wake_at": micros(post.wake_at),
        "reason": post.reason,
        "detail": post.detail,
        "version": post.version,
        "fence": post.fence,
        "claimed_by": post.claimed_by,
        "attempt": post.attempt,
        "tries": post.tries,
        "remote_tries": post.remote_tries,
        "claims": post.claims,
        "checks": post.checks,
        "publish_id": post.publish_id,
        "public_ids": as_json(post.public_ids),
        "url": post.url,
        "sent_bytes": post.sent_bytes,
        "finished_at": micros(post.finished_at),
        "retained": int(post.retained),
    }


def post_of(row: Row) -> Post:
    """Return the post in a row."""
    return Post(
        id=PostId(row["id"]),
        node=NodeName(row["node"]),
        account=AccountName(row["account"]),
        platform=row["platform"],
        mode=Mode(row["mode"]),
        kind=Kind(row["kind"]),
        source=Source(row["source"]),
        media=tuple(json.loads(row["media"])),
        facts=MediaFacts(**json.loads(row["facts"])) if row["facts"] else None,
        description=Description(**_tuple_fields(json.loads(row["description"]), "hashtags")),
        consent=Consent(**json.loads(row["consent"])),
        due_at=instant(row["due_at"]),
        zone=row["zone"],
        late_rule=LateRule(row["late_rule"]),
        late_after_s=row["late_after_s"],
        state=State(row["state"]),
        state_since=_set(row["state_since"]),
        created_at=_set(row["created_at"]),
        command_id=row["command_id"],
        wake_at=instant(row["wake_at"]),
        reason=row["reason"],
        detail=row["detail"],
        version=row["version"],
        fence=row["fence"],
        claimed_by=row["claimed_by"],
        attempt=row["attempt"],
        tries=row["tries"],
        remote_tries=row["remote_tries"],
        claims=row["claims"],
        checks=row["checks"],
        publish_id=row["publish_id"],
        public_ids=tuple(json.loads(row["public_ids"])),
        url=row["url"],
        sent_bytes=row["sent_bytes"],
        finished_at=instant(row["finished_at"]),
        retained=bool(row["retained"]),
        task=TaskId(row["task"]) if row["task"] else None,
    )


def attempt_values(attempt: Attempt) -> dict[str, Any]:
    """Return the columns of an attempt."""
    return {
        "post": attempt.post,
        "number": attempt.number,
        "fence": attempt.fence,
        "node": attempt.node,
        "started_at": micros(attempt.started_at),
        "init_sent_at": micros(attempt.init_sent_at),
        "init_hash": attempt.init_hash,
        "publish_id": attempt.publish_id,
        "upload_url": attempt.upload_url,
        "url_expires_at": micros(attempt.url_expires_at),
        "size": attempt.size,
        "chunk_size": attempt.chunk_size,
        "chunk_count": attempt.chunk_count,
        "stored_bytes": attempt.stored_bytes,
        "commit_sent_at": micros(attempt.commit_sent_at),
        "ended_at": micros(attempt.ended_at),
        "outcome": attempt.outcome,
        "error": attempt.error,
    }


def attempt_of(row: Row) -> Attempt:
    """Return the attempt in a row."""
    return Attempt(
        post=PostId(row["post"]),
        number=row["number"],
        fence=row["fence"],
        node=NodeName(row["node"]),
        started_at=_set(row["started_at"]),
        init_sent_at=instant(row["init_sent_at"]),
        init_hash=row["init_hash"],
        publish_id=row["publish_id"],
        upload_url=row["upload_url"],
        url_expires_at=instant(row["url_expires_at"]),
        size=row["size"],
        chunk_size=row["chunk_size"],
        chunk_count=row["chunk_count"],
        stored_bytes=row["stored_bytes"],
        commit_sent_at=instant(row["commit_sent_at"]),
        ended_at=instant(row["ended_at"]),
        outcome=row["outcome"],
        error=row["error"],
    )


def account_values(account: Account) -> dict[str, Any]:
    """Return the columns of an account."""
    return {
        "name": account.name,
        "platform": account.platform,
        "open_id": account.open_id,
        "scopes": ",".join(account.scopes),
        "access_token": account.access_token,
        "refresh_token": account.refresh_token,
        "access_expires_at": micros(account.access_expires_at),
        "refresh_expires_at": micros(account.refresh_expires_at),
        "login": account.login.value,
        "linked_at": micros(account.linked_at),
        "enabled": int(account.enabled),
        "token_version": account.token_version,
        "refresh_node": account.refresh_node,
        "refresh_until": micros(account.refresh_until),
        "creator": as_json(account.creator.as_dict()) if account.creator else None,
        "detail": account.detail,
    }


def account_of(row: Row) -> Account:
    """Return the account in a row."""
    creator = json.loads(row["creator"]) if row["creator"] else None
    return Account(
        name=AccountName(row["name"]),
        platform=row["platform"],
        open_id=row["open_id"],
        scopes=tuple(part for part in row["scopes"].split(",") if part),
        access_token=row["access_token"],
        refresh_token=row["refresh_token"],
        access_expires_at=_set(row["access_expires_at"]),
        refresh_expires_at=_set(row["refresh_expires_at"]),
        login=Login(row["login"]),
        linked_at=_set(row["linked_at"]),
        enabled=bool(row["enabled"]),
        token_version=row["token_version"],
        refresh_node=row["refresh_node"],
        refresh_until=instant(row["refresh_until"]),
        creator=Creator(**_tuple_fields(creator, "privacy_options")) if creator else None,
        detail=row["detail"],
    )


def readable_account(row: Row) -> Account:
    """Return the account in a row. Raises AccountUnreadable for one that holds what no tokd has written."""
    try:
        return account_of(row)
    except DAMAGED as error:
        raise AccountUnreadable(
            row["name"], f"its row in the ledger holds what cannot be ({type(error).__name__})",
            "See `tokd db check`; stop tokd and put a backup back with `tokd restore FILE`",
        ) from error  # fmt: skip


def command_of(row: Row) -> StoredCommand:
    """Return the stored command in a row."""
    return StoredCommand(
        row=row["row"],
        actor=Actor(row["actor"]),
        id=row["command_id"],
        verb=row["verb"],
        body=row["body"],
        body_hash=row["body_hash"],
        transport=row["transport"],
        reply_to=row["reply_to"],
        correlation=row["correlation"],
        received_at=_set(row["received_at"]),
        reply=json.loads(row["reply"]) if row["reply"] else None,
    )


def outgoing_of(row: Row) -> Outgoing:
    """Return the outbox message in a row."""
    return Outgoing(
        row=row["row"],
        transport=row["transport"],
        kind=row["kind"],
        address=row["address"],
        payload=row["payload"],
        correlation=row["correlation"],
        expires_at=instant(row["expires_at"]),
    )
