"""What a route works with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from adapters.http.door import Door
from adapters.http.guard import Guard
from adapters.http.hub import Hub
from adapters.http.metrics import Metrics
from adapters.http.settings import HttpSettings
from adapters.http.uploads import Slots
from daemon.domain.access import Claims
from daemon.domain.figures import Figures
from daemon.ports import HintReader, MediaStore


@dataclass(frozen=True)
class Parts:
    """The adapter's own parts, and two looks at the daemon that need no command."""

    settings: HttpSettings
    door: Door
    guard: Guard
    hub: Hub
    metrics: Metrics
    loops: Callable[[], Mapping[str, float]]  # seconds since each essential loop has last turned
    is_stopping: Callable[[], bool]
    hints: HintReader | None  # None: nothing takes webhooks here
    figures: Figures
    slots: Slots
    store: MediaStore | None  # None: there is no folder for uploads


def parts_of(request: Request) -> Parts:
    """Return what the application was built with."""
    return cast("Parts", request.app.state.parts)


async def _caller(request: Request) -> Claims:
    return parts_of(request).guard.check(request.headers.getlist("authorization"))


Caller = Annotated[Claims, Depends(_caller)]
