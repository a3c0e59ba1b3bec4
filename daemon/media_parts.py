"""The parts of media, as the composition root puts them together: the library, the store, the fetcher."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adapters.media import FetchSettings, FileStore, Hosts, MediaLibrary, RemoteFiles, StoreSettings
from config.settings import Settings
from daemon.domain.errors import StartRefused
from daemon.jobs.fetch import FetchJobs
from daemon.jobs.tools import Tools
from daemon.ports import Clock

_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class MediaParts:
    """What media needs; without a media root there is nowhere to keep what comes from elsewhere."""

    library: MediaLibrary
    store: FileStore | None
    fetcher: RemoteFiles | None

    def jobs(self, settings: Settings, tools: Tools) -> FetchJobs | None:
        """Return what the workers run."""
        if self.store is None or self.fetcher is None:
            return None
        return FetchJobs(
            tools=tools, fetcher=self.fetcher, store=self.store, keep_days=settings.media.keep_days
        )


def media_parts(settings: Settings, clock: Clock, stopping: threading.Event, *, simulate: bool) -> MediaParts:
    """Build the parts; the store's folder is made when it is needed first. Raises StartRefused."""
    found = settings.media
    roots, hosts = found.roots, Hosts(found.allowed_hosts, found.private_hosts)
    if simulate:
        # The first run takes files from where it is started, too: nothing leaves this machine.
        for root in roots:
            root.mkdir(parents=True, exist_ok=True)
        roots = tuple(dict.fromkeys((*roots, Path.cwd())))
    library = MediaLibrary(
        roots, found.verified_prefixes, clock=clock, stopping=stopping, settle_s=found.settle_s,
        allow_hard_links=found.allow_hard_links, probe_timeout_s=found.probe_timeout_s,
        probe_memory_mb=found.probe_memory_mb, hosts=hosts,
    )  # fmt: skip
    folder = settings.upload_dir
    if folder is None:
        return MediaParts(library, None, None)
    store = FileStore(
        StoreSettings(
            folder=folder, prefix=_below(folder, roots), size_max=settings.tiktok.file_size_max,
            floor=found.free_space_min_mb * _MEGABYTE, settle_s=found.settle_s,
        ),
        library, stopping,
    )  # fmt: skip
    times = FetchSettings(timeout_s=found.fetch_timeout_s, stall_s=found.fetch_stall_s, ca_file=found.ca_file)
    return MediaParts(library, store, RemoteFiles(times, hosts, store, stopping))


def _below(folder: Path, roots: Sequence[Path]) -> str:
    """Return the folder's name as a post would write it: posts take files from below the roots only."""
    for root in roots:
        if folder.is_relative_to(root) and folder != root:
            return folder.relative_to(root).as_posix()
    raise StartRefused(
        f"media.upload_dir {folder} is below none of media.roots, so no post could take a file from it"
    )
