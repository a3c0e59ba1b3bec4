"""TikTok's rules for cutting a file into chunks."""

_MAX_CHUNKS = 1000
_MAX_SIZE = 4 * 1024**3
_SMALLEST, _LARGEST = 5, 64


def is_valid_plan(size: int, chunk_size: int, count: int, *, binary_mb: bool) -> bool:
    """Whether init accepts this plan; whether TikTok's MB is 10^6 or 2^20 is not documented."""
    megabyte = 1 << 20 if binary_mb else 1_000_000
    if not (0 < size <= _MAX_SIZE and chunk_size > 0 and 1 <= count <= _MAX_CHUNKS):
        return False
    if size < _SMALLEST * megabyte or count == 1:
        return count == 1 and chunk_size == size <= _LARGEST * megabyte
    is_chunk_in_bounds = _SMALLEST * megabyte <= chunk_size <= _LARGEST * megabyte
    return is_chunk_in_bounds and count == size // chunk_size
