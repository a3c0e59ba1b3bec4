"""What a start notes before anything else, and what differs where it must be one in safe mode."""

import logging
import os
import shutil
from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path

from adapters.storage.mark import Mark, mark_of
from adapters.storage.starts import StartLog
from adapters.storage.store import IN_MEMORY, SqlStore, ledger_file
from adapters.vault import FernetVault, load_keys, new_key
from config.settings import Settings
from daemon.domain.access import Claims
from daemon.domain.figures import Figures, Look
from daemon.domain.ids import NodeName
from daemon.domain.media import StoredMedia, UploadState
from daemon.domain.safe_mode import SafeMode
from daemon.ports import Clock, Gate, MediaStore, OpenUpload

LOG = logging.getLogger("tokd")


def note_start(settings: Settings, clock: Clock, figures: Figures) -> tuple[StartLog, SafeMode | None]:
    """Return where the end is noted, and why this start is one in safe mode. Raises StartRefused."""
    found = settings.daemon
    ledger = ledger_file(settings.database_url_text)
    starts = StartLog(found.state_dir, ledger, found.safe_mode_starts, found.safe_mode_within_s)
    safe = starts.begin(clock.now())
    where = ledger.parent if ledger is not None else found.state_dir
    figures.watch(Look.SAFE_MODE, lambda: float(safe is not None))
    figures.watch(Look.DISK_FREE, lambda: float(shutil.disk_usage(where).free))
    return starts, safe


def ledger_store(
    settings: Settings,
    safe: SafeMode | None,
    *,
    has_broker: bool,
    redact: Callable[[str], str],
    figures: Figures,
) -> SqlStore:
    """Return the ledger; in blindness one in memory, which never sees the file and is gone with the process."""
    is_blind = safe is not None and safe.is_blind
    url = IN_MEMORY if is_blind else settings.database_url_text
    file = ledger_file(url)
    return SqlStore(
        url, NodeName(settings.daemon.node), has_broker=has_broker, redact=redact, figures=figures,
        mark=Mark(mark_of(file)) if file is not None else None,
    )  # fmt: skip


def vault_of(settings: Settings, safe: SafeMode | None, on_clear: Callable[[str], None]) -> FernetVault:
    """Return what seals the tokens. Raises StartRefused.

    In blindness there is nothing to open, and no key file may be made: a restore would find it in its backup's place.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    place = settings.key_file, Path(credentials) if credentials else None
    if safe is not None and safe.is_blind:
        return FernetVault([new_key()])
    keys, source = load_keys(*place, create=True)
    LOG.info("secrets are sealed with %s", source)
    return FernetVault(keys, on_clear=on_clear, source=lambda: load_keys(*place, create=False)[0])


class ShutGate:
    """The gate of a blind daemon: which tokens were taken back is not known, so none is good."""

    def __init__(self, gate: Gate, safe: SafeMode) -> None:
        self._gate = gate
        self._safe = safe

    def issue(self, user: str, token_id: str, now: datetime, expires_at: datetime) -> str:
        """Return a token's text. Raises Rejected(not_configured) where tokens are another issuer's."""
        return self._gate.issue(user, token_id, now, expires_at)

    def check(self, text: str, now: datetime) -> Claims:
        """Raise Rejected: unauthorized for what is no token of ours, safe_mode for one that is."""
        self._gate.check(text, now)
        raise self._safe.refusal()


class ShutStore:
    """The media store of a daemon in safe mode: it tells what is here, and takes nothing."""

    def __init__(self, store: MediaStore, safe: SafeMode) -> None:
        self._store = store
        self._safe = safe

    def begin(
        self,
        sha256: str | None = None,  # noqa: ARG002 - whatever it is
        size: int | None = None,  # noqa: ARG002
        offset: int | None = None,  # noqa: ARG002
        *,
        expected: int = 0,  # noqa: ARG002
    ) -> OpenUpload | StoredMedia:
        """Raise Rejected(safe_mode)."""
        raise self._safe.refusal()

    def look(self, sha256: str) -> UploadState | None:
        """Return how much of it is here; None where nobody has sent any of it."""
        return self._store.look(sha256)

    def sweep(self) -> int:
        """Remove nothing."""
        return 0

    def aged(self, days: float) -> dict[str, str]:  # noqa: ARG002
        """Return nothing: no file counts as old."""
        return {}

    def remove(self, names: Collection[str], days: float) -> None:
        """Remove nothing."""


def doors_of(gate: Gate, store: MediaStore | None, safe: SafeMode | None) -> tuple[Gate, MediaStore | None]:
    """Return what HTTP asks for tokens and for a place for uploads; in safe mode they are shut as far as they must."""
    if safe is None:
        return gate, store
    return ShutGate(gate, safe) if safe.is_blind else gate, ShutStore(
        store, safe
    ) if store is not None else None


def say_safe_mode(safe: SafeMode, say: Callable[[str], None]) -> None:
    """Tell the log and the person at the screen."""
    LOG.critical(
        "safe mode: %s. Nothing is posted and no session is opened. %s. What to do: %s",
        safe.reason,
        "The ledger is not touched" if safe.is_blind else "What is known can be read",
        safe.todo,
    )
    say("tokd is in safe mode: it does nothing but answer. The log says why.")
