"""The parts of the simulator, put together once."""

import shutil
from collections import Counter
from pathlib import Path

from fastapi import Request

from .faults import FaultScript
from .ledger import Ledger
from .options import Settings, SimulatorOptions
from .progress import Progress
from .quotas import RateWindows
from .records import Post
from .sinks import Hashes
from .state import State
from .webhooks import Webhooks


class World:
    """Everything a request may need."""

    def __init__(self, url: str, state_dir: Path, options: SimulatorOptions) -> None:
        self.url = url
        self.options = options
        self.uploads_dir = state_dir / "uploads"
        self.uploads_dir.mkdir(parents=True, exist_ok=True)
        self.state = State(state_dir, options)
        self.ledger = Ledger(state_dir / "ledger.jsonl", fsync=options.fsync)
        self.faults = FaultScript()
        self.windows = RateWindows()
        self.site_visits: Counter[str] = Counter()
        self.hashes = Hashes(self.uploads_dir, discard=options.discard_uploads)
        self.webhooks = Webhooks(options, self.ledger, lambda: self.settings, self.state.now)
        self.progress = Progress(self.state, self.ledger, self.webhooks)

    @property
    def settings(self) -> Settings:
        """What holds at this moment."""
        return self.state.settings

    def add_post(self, post: Post) -> None:
        """Remember a new post, doomed if the fault script says so."""
        fault = self.faults.take(_init_of(post), post.user, {"stuck", "fail"})
        if fault is not None:
            post.doom = fault.reason if fault.action == "fail" else fault.action
        self.state.put(post)
        self.progress.watch(post)

    def wipe(self) -> None:
        """Forget everything, on disk too."""
        self.faults.clear()
        self.webhooks.forget()
        self.windows.clear()
        self.site_visits.clear()
        self.hashes.clear()
        self.state.wipe()
        self.ledger.wipe()
        shutil.rmtree(self.uploads_dir, ignore_errors=True)
        self.uploads_dir.mkdir(parents=True, exist_ok=True)
        self.progress.watch_all()

    def close(self) -> None:
        """Close the files; safe twice."""
        self.state.close()
        self.ledger.close()


def _init_of(post: Post) -> str:
    return {"direct": "video_init", "inbox": "inbox_init", "photo": "photo_init"}[post.mode]


def world_of(request: Request) -> World:
    """Return the world this request arrived in."""
    world: World = request.app.state.world
    return world
