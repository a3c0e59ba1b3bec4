"""What kind of file it is, and whether all of it is there: read from the file's own table of boxes."""

import os
import shlex
from dataclasses import dataclass

from adapters.media.refusals import refused
from daemon.domain.errors import Rejected

_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_NEEDED = frozenset({b"moov", b"moof", b"mdat"})
_MOST_BOXES = 200_000  # ten minutes at 60 frames a second, each in a fragment of its own, are 72,000
_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_DOC_TYPE = b"\x42\x82"


@dataclass(frozen=True, slots=True)
class Outline:
    """The container in neutral words, and the name of the demuxer that may read it."""

    container: str
    mime_type: str
    demuxer: str


_MP4 = Outline("mp4", "video/mp4", "mov")
_MOV = Outline("mov", "video/quicktime", "mov")
_3GP = Outline("3gp", "video/3gpp", "mov")
_WEBM = Outline("webm", "video/webm", "matroska")
_MATROSKA = Outline("matroska", "video/x-matroska", "matroska")


def read_outline(fd: int, size: int, name: str) -> Outline:
    """Return what the open file is. Raises Rejected with the problem `container` or `incomplete`."""
    head = os.pread(fd, 4096, 0)
    if head.startswith(_EBML):
        return _read_ebml(head, size, name)
    if head[4:8] not in _FIRST_BOXES:
        raise _container(name, "is neither MP4, MOV nor WebM")
    _walk_boxes(fd, size, name)
    brand = head[8:12] if head[4:8] == b"ftyp" else b"qt  "  # QuickTime is older than the ftyp box
    if brand == b"qt  ":
        return _MOV
    return _3GP if brand.startswith(b"3g") else _MP4


def _walk_boxes(fd: int, size: int, name: str) -> None:
    seen: set[bytes] = set()
    offset = 0
    for _ in range(_MOST_BOXES):
        kind, length = _box_at(fd, offset, size)
        if length == 0:
            break  # trailing bytes that are no box harm nobody once the film is complete
        if offset + length > size:
            if kind in _NEEDED:
                raise _incomplete(name, f"{offset + length - size} bytes are missing at the end")
            break
        seen.add(kind)
        offset += length
    else:
        raise _container(name, f"is cut into more than {_MOST_BOXES} boxes")
    if b"moov" not in seen:
        raise _incomplete(name, "it has no complete index (moov)")
    if not seen & {b"mdat", b"moof"}:
        raise _incomplete(name, "it has no complete pictures (mdat)")


def _box_at(fd: int, offset: int, size: int) -> tuple[bytes, int]:
    """Return kind and length of the box at this offset; length 0 where there is none."""
    header = os.pread(fd, 16, offset)
    least = 8
    if len(header) < least:
        return b"", 0
    length = int.from_bytes(header[:4])
    if length == 0:  # to the end of the file
        length = size - offset
    elif length == 1:  # the length needs 64 bits
        least = 16
        length = int.from_bytes(header[8:16])
    return header[4:8], length if length >= least else 0


def _read_ebml(head: bytes, size: int, name: str) -> Outline:
    header_size, position = _number(head, len(_EBML))
    end = position + (header_size or 0)
    kind = b""
    while position < min(end, len(head)):
        identifier, position = _identifier(head, position)
        length, position = _number(head, position)
        if length is None:
            break
        if identifier == _DOC_TYPE:
            kind = head[position : position + length].rstrip(b"\0")
        position += length
    if kind not in {b"webm", b"matroska"}:
        raise _container(name, "is neither MP4, MOV nor WebM")
    if head[end : end + 4] == _SEGMENT:
        length, position = _number(head, end + 4)
        if length is not None and position + length > size:  # None: a live stream's, which ends where it ends
            raise _incomplete(name, f"{position + length - size} bytes are missing at the end")
    return _WEBM if kind == b"webm" else _MATROSKA


def _width(head: bytes, position: int) -> int:
    """Return how many bytes the number or identifier here takes: EBML counts the leading zero bits."""
    first = head[position] if position < len(head) else 0
    return 9 - first.bit_length() if first else 1


def _identifier(head: bytes, position: int) -> tuple[bytes, int]:
    end = position + _width(head, position)
    return head[position:end], end


def _number(head: bytes, position: int) -> tuple[int | None, int]:
    """Return an EBML number and where it ends; None for the number that means `unknown`."""
    width = _width(head, position)
    end = position + width
    all_ones = (1 << 7 * width) - 1
    value = int.from_bytes(head[position:end]) & all_ones
    return None if value == all_ones else value, end


def _container(name: str, message: str) -> Rejected:
    return refused(name, "container", message, f"ffmpeg -i {shlex.quote(name)} -c:v libx264 -c:a aac out.mp4")


def _incomplete(name: str, why: str) -> Rejected:
    return refused(
        name,
        "incomplete",
        f"is not complete: {why}",
        "wait until it is written or copied in full, then send the command again; "
        "a recording that was cut off must be repaired or made again",
    )
