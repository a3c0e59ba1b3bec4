"""The HTTP adapter, as the composition root puts it together. Imported only where there is HTTP: it is large."""

from collections.abc import Callable, Mapping

from adapters.http import HttpServer, HttpSettings
from config.settings import Settings
from daemon.domain.figures import Figures
from daemon.ports import Bus, Clock, Gate, HintReader, MediaStore, Supervisor

_PATIENCE_S = 30.0  # over tokd's own limit for a session, within which copying the profile does not count


def http_server(
    settings: Settings, port: int, version: str, bus: Bus, clock: Clock, gate: Gate, supervisor: Supervisor,
    *, hints: HintReader, figures: Figures, loops: Callable[[], Mapping[str, float]], is_stopping: Callable[[], bool],
    store: MediaStore | None,
) -> HttpServer:  # fmt: skip
    """Build the adapter; the port is not touched yet."""
    found, session = settings.http, settings.session
    return HttpServer(
        HttpSettings(
            port=port, version=version, host=found.host, allowed_hosts=found.allowed_hosts,
            cors_origins=found.cors_origins, metrics_need_token=found.metrics_need_token,
            header_timeout_s=found.header_timeout_s, body_max=found.body_max,
            detection_timeout_s=session.login_detection_timeout,
            open_within_s=session.creation_timeout + _PATIENCE_S,
            upload_max=settings.tiktok.file_size_max, upload_stall_s=settings.media.upload_stall_s,
            uploads_max=settings.media.uploads_max,
        ),
        bus, clock, gate, supervisor, hints=hints, figures=figures, loops=loops, is_stopping=is_stopping, store=store,
    )  # fmt: skip
