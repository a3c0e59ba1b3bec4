"""How a file is cut for TikTok."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tiktok.answers import stored_bytes
from adapters.tiktok.chunks import plan
from adapters.tiktok.settings import TikTokSettings
from daemon.domain.errors import Fault, PlatformError
from daemon.domain.platform import Plan

SETTINGS = TikTokSettings()
ROOMY = TikTokSettings(file_size_max=4 * 1024**3)
MB = 1_000_000
SIZES = st.integers(1, SETTINGS.file_size_max) | st.sampled_from(
    [1, 5 * MB, 64 * MB, 64 * MB + 1, 64 * 1024**2, 70 * MB - 1, 70 * MB, SETTINGS.file_size_max]
)


@pytest.mark.parametrize(
    ("size", "chunk_size", "count", "last"),
    [
        (4194304, 4194304, 1, (0, 4194303)),
        (5000000, 5000000, 1, (0, 4999999)),
        (64000000, 64000000, 1, (0, 63999999)),
        (64000001, 10000000, 6, (50000000, 64000000)),
        (67108864, 10000000, 6, (50000000, 67108863)),
        (79999999, 10000000, 7, (60000000, 79999998)),
        (4294967296, 10000000, 429, (4280000000, 4294967295)),
    ],
)
def test_the_plan_is_the_reference_table(
    size: int, chunk_size: int, count: int, last: tuple[int, int]
) -> None:
    found = plan(size, ROOMY)

    assert found == Plan(size, chunk_size, count)
    assert found.span(count - 1) == last


@given(SIZES)
def test_the_chunks_cover_every_byte_once_and_keep_tiktoks_bounds(size: int) -> None:
    found = plan(size, SETTINGS)
    spans = [found.span(index) for index in range(found.count)]
    lengths = [last - first + 1 for first, last in spans]

    assert [first for first, _ in spans] == [0, *(last + 1 for _, last in spans[:-1])]
    assert sum(lengths) == size
    assert found.count == size // found.chunk_size
    assert 1 <= found.count <= 1000
    assert found.count > 1 or found.chunk_size == size
    assert all(5 * 1024**2 <= length <= 64 * MB for length in lengths[:-1])
    assert lengths[-1] <= 128 * MB


@pytest.mark.parametrize("size", [0, -1, 4_000_000_001])
def test_a_size_that_tiktok_does_not_take_is_refused(size: int) -> None:
    with pytest.raises(PlatformError) as caught:
        plan(size, SETTINGS)

    assert (caught.value.fault, caught.value.code) == (Fault.CONTENT, "file_size")


@given(SIZES.filter(lambda size: size > 1), st.data())
def test_both_readings_of_the_progress_header_give_the_same_border(size: int, data: st.DataObject) -> None:
    cut = plan(size, SETTINGS)
    _, last = cut.span(data.draw(st.integers(0, cut.count - 1)))

    assert stored_bytes(f"bytes 0-{last}/{size}", cut) == last + 1
    assert stored_bytes(f"bytes 0-{last + 1}/{size}", cut) == last + 1


@pytest.mark.parametrize(
    ("header", "stored"),
    [
        (None, None),
        ("", None),
        ("garbage", None),
        ("bytes 0-9/26", None),
        ("bytes 0-26/25", None),
        ("bytes 3-9/25", None),
        ("bytes 0-9/*", None),
        ("bytes 0-4/25", 4),
        ("bytes 0-0/25", 0),
        ("Bytes 0-9/25 ", 10),
        ("bytes 0-19/25", 19),
    ],
)
def test_a_progress_header_is_read_leniently(header: str | None, stored: int | None) -> None:
    # 25 bytes in chunks of 10 make two: 20 is no border, for the last chunk runs from 10 to 24.
    assert stored_bytes(header, Plan(25, 10, 2)) == stored
