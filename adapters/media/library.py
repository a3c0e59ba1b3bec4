"""The media that tokd may post: files inside the configured roots, addresses under the verified prefixes."""

import os
import threading
from collections import OrderedDict
from dataclasses import asdict, replace
from pathlib import Path

from adapters.media.addresses import check_address
from adapters.media.contents import OpenFile, hash_bytes
from adapters.media.hosts import Hosts
from adapters.media.names import Found, identity_of, open_media
from adapters.media.outline import read_outline
from adapters.media.probe import Probe
from adapters.media.refusals import refused, shutting_down, still_being_written, unreadable_now
from daemon.domain.errors import Rejected
from daemon.domain.media import MediaFacts
from daemon.ports import Clock

_MOST_REMEMBERED = 512


class MediaLibrary:
    """Checks and opens media (daemon.ports.MediaProbe). Every method may be called from any thread.

    Beside the three codes of the port, inspect and open raise Rejected(shutting_down) once `stopping` is set.
    """

    def __init__(
        self,
        roots: tuple[Path, ...],
        verified_prefixes: tuple[str, ...],
        *,
        clock: Clock,
        stopping: threading.Event,
        settle_s: float = 2.0,
        allow_hard_links: bool = False,
        probe_timeout_s: float = 20,
        probe_memory_mb: int = 1024,
        hosts: Hosts | None = None,
    ) -> None:
        self._roots = tuple(str(root) for root in roots)
        self._prefixes = verified_prefixes
        self._hosts = hosts or Hosts()
        self._clock = clock
        self._stopping = stopping
        self._settle_s = settle_s
        self._allow_hard_links = allow_hard_links
        self._probe = Probe(probe_timeout_s, probe_memory_mb, stopping)
        self._remembered: OrderedDict[tuple[str, str], MediaFacts] = OrderedDict()
        self._lock = threading.Lock()

    def recall(self, name: str) -> MediaFacts | None:
        """Return the facts of an earlier check if the file is provably the same. Fast, never raises."""
        try:
            found = self._open(name)
        except Rejected:
            return None
        os.close(found.fd)
        with self._lock:
            facts = self._remembered.get(found.key)
            if facts is None or facts.identity != identity_of(found.status) or self._unsettled_s(found) > 0:
                return None
            self._remembered.move_to_end(found.key)
        return facts if facts.name == name else replace(facts, name=name)

    def inspect(self, name: str) -> MediaFacts:
        """Check the file in full: path, type, completeness, hash, streams. Takes seconds for large files.

        Raises Rejected: media_missing, media_outside_roots, media_rejected, shutting_down.
        """
        found = self._open(name)
        try:
            self._settle(found, name)
            facts = self._read(found, name)
            self._refuse_if_written(found, name)
        except OSError as error:
            raise unreadable_now(name, error) from error
        finally:
            os.close(found.fd)
        self._remember(found.key, facts)
        return facts

    def open(self, facts: MediaFacts) -> OpenFile:
        """Open the file and prove by its hash that it is the one that was checked.

        Raises Rejected: media_missing, media_outside_roots, media_rejected (`changed`), shutting_down.
        """
        found = self._open(facts.name)
        try:
            self._refuse_other(found, facts)
        except OSError as error:
            os.close(found.fd)
            raise unreadable_now(facts.name, error) from error
        except BaseException:
            os.close(found.fd)
            raise
        return OpenFile(found, facts.sha256)

    def renamed(self, facts: MediaFacts, name: str) -> MediaFacts:
        """Return the facts of a checked file under the name it has got since, and remember them.

        Raises Rejected like inspect, which is what happens where it is not provably the same file.
        """
        found = self._open(name)
        os.close(found.fd)
        identity = identity_of(found.status)
        # Renaming touches the change time, the last part, and nothing else.
        if identity.rpartition(":")[0] != facts.identity.rpartition(":")[0]:
            return self.inspect(name)
        facts = replace(facts, name=name, identity=identity)
        self._remember(found.key, facts)
        return facts

    def is_fetched(self, url: str, field: str) -> bool:
        """Tell whether tokd fetches this video itself; False: it stands under a verified prefix.

        Raises Rejected(media_rejected) where it is neither.
        """
        if self._hosts.know(url):
            self._hosts.target(url, field)
            return True
        try:
            check_address(url, self._prefixes, field)
        except Rejected as refusal:
            if any(problem.code == "url_prefix" for problem in refusal.problems):
                raise self._hosts.unknown(url, field, self._prefixes) from None
            raise
        return False

    def check_url(self, url: str, field: str) -> None:
        """Raise Rejected(media_rejected) unless the platform may be pointed at this address."""
        check_address(url, self._prefixes, field)

    def _open(self, name: str) -> Found:
        return open_media(self._roots, name, allow_hard_links=self._allow_hard_links)

    def _unsettled_s(self, found: Found) -> float:
        """Return how long to wait until a further write would show in the file's time."""
        age = self._clock.now().timestamp() - found.status.st_mtime
        return min(self._settle_s, self._settle_s - age)

    def _settle(self, found: Found, name: str) -> None:
        rest = self._unsettled_s(found)
        if rest > 0:
            if self._stopping.wait(rest):
                raise shutting_down()
            self._refuse_if_written(found, name)

    def _read(self, found: Found, name: str) -> MediaFacts:
        size = found.status.st_size
        outline = read_outline(found.fd, size, name)
        sha256 = hash_bytes(found.fd, size, self._stopping)
        streams = self._probe.look(found.fd, outline.demuxer, name)
        return MediaFacts(
            name=name,
            size=size,
            sha256=sha256,
            identity=identity_of(found.status),
            container=outline.container,
            mime_type=outline.mime_type,
            **asdict(streams),
        )

    def _refuse_other(self, found: Found, facts: MediaFacts) -> None:
        is_size = found.status.st_size == facts.size
        if not is_size or hash_bytes(found.fd, facts.size, self._stopping) != facts.sha256:
            raise refused(
                facts.name, "changed", "is not the file that was scheduled", "schedule it as a new post"
            )

    @staticmethod
    def _refuse_if_written(found: Found, name: str) -> None:
        if identity_of(os.fstat(found.fd)) != identity_of(found.status):
            raise still_being_written(name)

    def _remember(self, key: tuple[str, str], facts: MediaFacts) -> None:
        with self._lock:
            self._remembered[key] = facts
            self._remembered.move_to_end(key)
            while len(self._remembered) > _MOST_REMEMBERED:
                self._remembered.popitem(last=False)
