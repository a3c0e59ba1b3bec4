"""How a file is cut for TikTok (MT): count = floor(size / chunk size), the last chunk carries the rest."""

from adapters.tiktok.settings import TikTokSettings
from daemon.domain.errors import Fault, PlatformError
from daemon.domain.platform import Plan


def plan(size: int, settings: TikTokSettings) -> Plan:
    """Return the plan for `size` bytes: whole up to `single_chunk_max`, else in `chunk_size` pieces.

    The figures hold whether TikTok's MB is 10^6 or 2^20 bytes, which no page says.
    Raises PlatformError(content, "file_size") for an empty file and for one that is too large.
    """
    if not 0 < size <= settings.file_size_max:
        raise PlatformError(
            Fault.CONTENT,
            "file_size",
            f"{size} bytes cannot be uploaded: TikTok takes 1 to {settings.file_size_max}",
            advice="Make the file smaller, for example with a lower bit rate.",
        )
    if size <= settings.single_chunk_max:
        return Plan(size, size, 1)
    return Plan(size, settings.chunk_size, size // settings.chunk_size)
