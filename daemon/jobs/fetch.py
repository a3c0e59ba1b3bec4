"""Media from elsewhere: fetch a video for an order that waits for it, and keep the media store small."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from daemon.domain.errors import Rejected
from daemon.domain.reports import FetchProgressed, MediaInspected
from daemon.domain.times import iso
from daemon.domain.work import FetchMedia
from daemon.jobs.tools import Tools
from daemon.ports import MediaFetcher, MediaStore, StoredCommand, Unit

LOG = logging.getLogger("tokd.jobs")
TELL_EVERY_S = 1.0
REMOVED_AT_ONCE = 20  # in the bus thread, where nobody can order a post of them meanwhile
ASKED_AT_ONCE = 500
WAITS_FOR_MEDIA = frozenset({"post/schedule", "task/post"})


@dataclass(frozen=True, kw_only=True)
class FetchJobs:
    """Runs in a worker thread. `keep_days` is how long a file stays after its last post; 0 is for ever."""

    tools: Tools
    fetcher: MediaFetcher
    store: MediaStore
    keep_days: int

    def fetch(self, work: FetchMedia) -> None:
        """Fetch and report. Told once a second; cut short by the end of the daemon, it reports nothing."""
        tools, row = self.tools, work.command
        stored: StoredCommand = tools.bus.read(lambda unit: unit.command(row))
        if stored.reply is not None:
            return
        host = urlsplit(work.url).hostname or ""
        told_at = -TELL_EVERY_S

        def tell(received: int, total: int | None) -> None:
            nonlocal told_at
            if tools.clock.monotonic() - told_at >= TELL_EVERY_S:
                told_at = tools.clock.monotonic()
                tools.bus.tell(FetchProgressed(row, host, received, total))

        # The row alone is not enough: a new database counts from 1 again.
        key = f"{stored.actor}/{stored.id}/{iso(stored.received_at)}/{work.url}"
        try:
            facts = self.fetcher.fetch(work.url, key, "args.url", tell)
        except Rejected as refusal:
            if not tools.stopping.is_set():  # the next start goes on with it
                tools.ask_surely(MediaInspected(row, None, refusal, work.url))
            return
        tools.bus.tell(FetchProgressed(row, host, facts.size, facts.size, is_done=True))
        tools.ask_surely(MediaInspected(row, facts, None, work.url))

    def sweep(self) -> None:
        """Remove parts of a week ago, and files that nothing has used for long.

        A file stays that an open post names, or a task that can be posted yet: for as long as that task exists.
        """
        count = self.store.sweep()
        if count:
            LOG.info("removed %d uploads and fetches that were never finished", count)
        aged = self.store.aged(self.keep_days) if self.keep_days else {}
        names = self.tools.bus.read(lambda unit: self._remove(aged, unit)) if aged else []
        if names:
            LOG.info(
                "removed from the media store, not used for %d days (media.keep_days): %s",
                self.keep_days, ", ".join(names), extra={"action": "media_swept"},
            )  # fmt: skip

    def _remove(self, aged: dict[str, str], unit: Unit) -> list[str]:
        if any(stored.verb in WAITS_FOR_MEDIA for stored in unit.open_commands()):
            return []  # one of them may be about to name such a file
        since = self.tools.clock.now() - timedelta(days=self.keep_days)
        contents = list(aged.values())
        used: set[str] = set()
        for first in range(0, len(contents), ASKED_AT_ONCE):
            some = contents[first : first + ASKED_AT_ONCE]
            used |= unit.files_used(some, since) | unit.files_of_tasks(some)
        names = [name for name, sha256 in aged.items() if sha256 not in used][:REMOVED_AT_ONCE]
        self.store.remove(names, self.keep_days)
        return names
