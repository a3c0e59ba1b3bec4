"""What the gateway must know about the broker and about itself."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Protocol = Literal["auto", "5", "3.1.1"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """How the connection is encrypted. Without a CA file the system's authorities count."""

    enabled: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """One broker and one node. `unix_socket` wins over `host` where both are given."""

    node: str
    client_id: str
    host: str | None = None
    port: int = 1883
    unix_socket: Path | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    prefix: str = "tokd"
    protocol: Protocol = "auto"
    keepalive_s: int = 30
    session_expiry_s: int = 86400
    will_delay_s: int = 10
    self_test_s: float = 10.0  # how long a message to ourselves may be on its way
    tls: TlsSettings = field(default_factory=TlsSettings)

    @property
    def address(self) -> str:
        """Return the broker's address for people."""
        return str(self.unix_socket) if self.unix_socket else f"{self.host}:{self.port}"
