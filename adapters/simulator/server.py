"""Running the simulator: bind first, announce when it accepts, stop on SIGTERM or SIGINT."""

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import uvicorn

from .app import create_app
from .connections import MARK, protocol_class
from .options import SimulatorOptions
from .world import World

HOST = "127.0.0.1"
_BACKLOG = 128
_STOP_SECONDS = 2
_KEEP_ALIVE_SECONDS = 60


def serve(
    port: int,
    state_dir: Path,
    *,
    ready: Callable[[str], None] | None = None,
    options: SimulatorOptions,
) -> int:
    """Serve on loopback until a signal; port 0 takes any free one. Raises OSError when it is taken."""
    listener = _bind(port)
    url = f"http://{HOST}:{listener.getsockname()[1]}"
    state_dir.mkdir(parents=True, exist_ok=True)
    world = World(url, state_dir, options)
    config = uvicorn.Config(
        create_app(world),
        http=protocol_class(),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=[MARK],
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    try:
        _Server(config, lambda: ready(url) if ready is not None else None).run(sockets=[listener])
    finally:
        world.close()
        listener.close()
    return 0


def _bind(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Lets a restart take its own port back; listening at once makes a port in use an error here.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno, f"the simulator cannot listen on {HOST}:{port}: {error.strerror}"
        ) from error
    return listener


class _Server(uvicorn.Server):
    """uvicorn that says when it accepts, and that returns after a signal instead of dying of it."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then announce."""
        await super().startup(sockets=sockets)
        if self.started:
            self._announce()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal; restore the old handlers and do not raise the signal again."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        caught = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in caught}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
