"""What the HTTP adapter is told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Where to listen, whom to let in, how long to wait. Seconds throughout."""

    port: int
    version: str
    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    metrics_need_token: bool = True
    header_timeout_s: float = 10
    body_max: int = 65536
    detection_timeout_s: float = 8  # told to the caller of a session that is logged out
    open_within_s: float = 120  # a session is open by then, or tokd's own limit has failed
    answer_within_s: float = 30  # a post that takes longer is answered with 202
    heartbeat_s: float = 15
    readers_max: int = 100  # callers that listen to events at a time
    buffer_max: int = 1000  # events that wait for one of them; more, and it is cut off
    connections_max: int = 700
    upload_max: int = 4_000_000_000  # bytes
    upload_stall_s: float = 30
    uploads_max: int = 4
