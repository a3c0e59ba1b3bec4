"""The section of media: every key with its type, bounds, default and one sentence."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from config.addresses import check_host
from config.sections import Flag, HostName, Location, Number, Section, UrlPrefix, Whole

_PORT_MAX = 65535


def _check_private_host(text: str) -> str:
    host, colon, port = text.rpartition(":") if text.count(":") == 1 else (text, "", "")
    check_host(host)
    is_port = port.isascii() and port.isdecimal() and 1 <= int(port[:6]) <= _PORT_MAX
    if ":" in host or (colon and not is_port):
        raise ValueError(
            'must be a host or an IPv4 address, with a port where it is not 443, like "nas.lan:8443"'
        )
    return text.lower()


PrivateHost = Annotated[str, AfterValidator(_check_private_host)]


class MediaSettings(Section):
    """Where videos and photos may come from."""

    roots: tuple[Location, ...] = Field(
        (Path("./media"),),
        description="Folders a post may take its files from; nothing outside of them is ever read.",
    )
    upload_dir: Location | None = Field(
        None,
        examples=["./media/uploads"],
        description="Folder below a root for what is uploaded or fetched; without it uploads in the first root.",
    )
    allowed_hosts: tuple[HostName, ...] = Field(
        ("supabase.co", "supabase.io", "storage.googleapis.com", "s3.amazonaws.com"),
        description="Hosts, with everything below them, that media may be fetched from, by https only.",
    )
    private_hosts: tuple[PrivateHost, ...] = Field(
        (),
        max_length=50,
        examples=[["nas.lan:8443"]],
        description="Hosts of your own network to fetch from; whoever may order posts can make tokd call them.",
    )
    verified_prefixes: tuple[UrlPrefix, ...] = Field(
        (), description='Address prefixes verified with TikTok, which may pull from them; each ends with "/".'
    )
    ca_file: Location | None = Field(
        None,
        examples=["ca.pem"],
        description="Certificates to trust, too, where media is fetched from; the system's always count.",
    )
    fetch_timeout_s: Number = Field(
        3600, gt=0, le=86400, description="Seconds one fetch may take altogether."
    )
    fetch_stall_s: Number = Field(
        30, gt=0, le=600, description="Seconds to wait for the next byte of a fetch."
    )
    upload_stall_s: Number = Field(
        30, ge=0.1, le=600, description="Seconds to wait for the next byte of an upload over HTTP."
    )
    uploads_max: Whole = Field(
        4, ge=1, le=64, description="How many uploads over HTTP there may be at a time."
    )
    free_space_min_mb: Whole = Field(
        512, ge=0, le=10_000_000, description="Megabytes of the disk that uploads and fetches leave free."
    )
    keep_days: Whole = Field(
        30,
        ge=0,
        le=3650,
        description="Days an uploaded or fetched file is kept after its last post has ended, and while a task that can be "
        "posted names it; 0 is for ever.",
    )
    settle_s: Number = Field(2.0, ge=0, le=600, description="Seconds a file must stay unchanged.")
    allow_hard_links: Flag = Field(False, description="Accept files that have a second name elsewhere.")
    probe_timeout_s: Number = Field(20, gt=0, le=600, description="Seconds the look into a video may take.")
    probe_memory_mb: Whole = Field(
        1024, ge=64, le=65536, description="Megabytes of memory the look into a video may take."
    )
