"""The HTTP adapter's life: one thread with an event loop; the port is bound before it starts."""

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import uvicorn

from adapters.http.app import create_app
from adapters.http.connections import HEAD_MAX, connection_class
from adapters.http.door import TRANSPORT, Door
from adapters.http.guard import Guard
from adapters.http.hub import Hub
from adapters.http.metrics import Metrics
from adapters.http.parts import Parts
from adapters.http.settings import HttpSettings
from adapters.http.uploads import Slots
from daemon.domain.errors import StartRefused
from daemon.domain.figures import Figures
from daemon.ports import Bus, Clock, Gate, HintReader, MediaStore, Outgoing, Supervisor

log = logging.getLogger("tokd.http")

_BACKLOG = 512
_START_S = 10.0
_TICK_S = 1.0
_STOP_S = 2


class HttpServer:
    """Commands in; answers and live events out. Implements ports.Publisher."""

    transport = TRANSPORT
    keeps_outbox = False

    def __init__(
        self, settings: HttpSettings, bus: Bus, clock: Clock, gate: Gate, supervisor: Supervisor, *,
        loops: Callable[[], Mapping[str, float]] = dict, is_stopping: Callable[[], bool] = bool,
        hints: HintReader | None = None, figures: Figures | None = None, store: MediaStore | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._supervisor = supervisor
        figures = figures or Figures()
        self._parts = Parts(
            settings=settings, door=Door(bus, clock), guard=Guard(gate, bus, clock),
            hub=Hub(settings.readers_max, settings.buffer_max), metrics=Metrics(settings.version, figures),
            loops=loops, is_stopping=is_stopping, hints=hints, figures=figures, slots=Slots(settings.uploads_max),
            store=store,
        )  # fmt: skip
        self._is_open = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self.url = ""

    def start(self) -> None:
        """Bind the port and begin to serve. Raises StartRefused where it is taken."""
        if self._thread is not None:
            return
        listener = _bind(self._settings.host, self._settings.port)
        self._is_open = True  # before the tokens are read: from here on their events count
        self._parts.guard.open()
        host, port = self._settings.host, listener.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        started = threading.Event()
        # a daemon thread: a database that hangs must not hold up the exit after stop has given up on it
        self._thread = threading.Thread(target=self._run, args=(listener, started), name="http", daemon=True)
        self._thread.start()
        if not started.wait(_START_S):
            raise StartRefused(f"HTTP did not begin to serve on {self.url} within {_START_S:g} s")
        log.info("serving %s", self.url, extra={"action": "http_start"})

    def stop(self, deadline_s: float = 5.0) -> bool:
        """Answer who waits, end the streams, close the port; return whether it ended. Safe twice, and before start."""
        if self._thread is None:
            return True
        loop, server = self._loop, self._server
        if loop is not None and server is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(server.end)
        self._thread.join(deadline_s)
        return not self._thread.is_alive()

    def offer(self, messages: Sequence[Outgoing]) -> None:
        """Take events for those who listen; replies are handed over by the bus itself."""
        if not self._is_open:
            return
        payloads = [message.payload for message in messages if message.kind == "event" and message.payload]
        if not payloads:
            return
        self._parts.guard.note(payloads)
        self._parts.metrics.note(payloads)
        loop = self._loop
        if loop is not None and self._parts.hub.is_wanted:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._parts.hub.take, payloads)

    @property
    def last_beat(self) -> float:
        """Return the monotonic time of the loop's last turn, which it takes every second; 0 before it serves."""
        return self._server.last_beat if self._server is not None else 0.0

    def status(self) -> dict[str, Any]:
        """Return the part's line in the health answer."""
        is_alive = self._thread is not None and self._thread.is_alive()
        return {"ok": is_alive, "url": self.url}

    def _run(self, listener: socket.socket, started: threading.Event) -> None:
        try:
            asyncio.run(self._serve(listener, started))
        except BaseException as error:  # whatever it was: no dead thread goes unnoticed
            log.critical("the http thread died", exc_info=error, extra={"action": "http_death"})
            self._supervisor.died("http", error)
        finally:
            listener.close()

    async def _serve(self, listener: socket.socket, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        config = uvicorn.Config(
            create_app(self._parts),
            http=connection_class(self._settings.header_timeout_s, self._settings.connections_max),
            ws="none", lifespan="off", log_config=None, log_level="error", access_log=False,
            server_header=False, proxy_headers=False,
            timeout_keep_alive=30, timeout_graceful_shutdown=_STOP_S, h11_max_incomplete_event_size=HEAD_MAX,
            backlog=_BACKLOG,
        )  # fmt: skip
        self._server = server = _Server(config, self._parts, started)
        await server.serve(sockets=[listener])
        if not server.is_ending:
            raise RuntimeError("the server ended by itself")


class _Server(uvicorn.Server):
    """uvicorn that says when it serves, sleeps while nobody calls, and leaves the signals alone."""

    def __init__(self, config: uvicorn.Config, parts: Parts, started: threading.Event) -> None:
        super().__init__(config)
        self._parts = parts
        self._announced = started
        self._ended = asyncio.Event()
        self.is_ending = False
        self.last_beat = time.monotonic()

    def end(self) -> None:
        """Begin the end: those who wait are answered, streams are over."""
        self.is_ending = self.should_exit = True
        self._parts.door.close()
        self._parts.hub.close()
        self._ended.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then announce."""
        await super().startup(sockets=sockets)
        self._announced.set()

    async def main_loop(self) -> None:
        """Keep the Date header in step until the end; uvicorn's own loop would wake up ten times a second."""
        while not self._ended.is_set():
            self.last_beat = time.monotonic()
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._ended.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: signals are the daemon's."""
        yield


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises StartRefused with the address and the setting."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Lets a restart take its own port back; listening at once makes a port in use an error here.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartRefused(
            f"HTTP cannot listen on {host}:{port}: {error.strerror or error}; choose another http.port or http.host"
        ) from error
    return listener
