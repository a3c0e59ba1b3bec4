"""What this adapter must be told: addresses, the app's credentials, patience and the sizes TikTok takes."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from adapters.tiktok.addresses import is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class TikTokSettings:
    """Sizes in bytes, times in seconds, rates in calls a minute and user token.

    Raises ValueError where the API would be spoken to in clear text outside this machine.
    """

    api_base: str = "https://open.tiktokapis.com"  # LKD
    authorize_url: str = "https://www.tiktok.com/v2/auth/authorize/"  # LKD
    upload_hosts: tuple[str, ...] = ("open-upload.tiktokapis.com", "upload.*.tiktokapis.com")  # MT, DP
    client_key: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0  # for one read, and for handing one MiB to the socket
    call_deadline_s: float = 120.0  # for a whole call; for an upload from its last byte to the answer's
    single_chunk_max: int = 64_000_000  # decimal: 64 MiB was refused in the field (MT is silent)
    chunk_size: int = 10_000_000  # TikTok's own example (MT)
    file_size_max: int = 4_000_000_000  # the strict reading of 4 GB (MT)
    creator_per_minute: int = 20  # CI
    init_per_minute: int = 6  # DP, UP, PH
    status_per_minute: int = 30  # ST
    webhook_max_age_s: float = 300.0  # ours: the age of a repeat is not documented (WV)

    def __post_init__(self) -> None:
        parts = urlsplit(self.api_base)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname)):
            raise ValueError(f"api_base must be https, not {parts.scheme or 'empty'}: tokens travel on it")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("api_base must be a plain address, such as https://open.tiktokapis.com")
