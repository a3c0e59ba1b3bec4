"""What the announcement must know beside the facts."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["device", "component", "off"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeAssistantSettings:
    """How tokd is announced. `heartbeat_s`: `state/daemon` is published at least so often."""

    mode: Mode = "device"
    prefix: str = "homeassistant"
    actor: str = "homeassistant"
    screenshots: bool = False
    heartbeat_s: float = 300
    url: str | None = None  # where tokd's users find help
