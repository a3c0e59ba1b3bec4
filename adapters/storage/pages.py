"""Where a page of a list ended: the moment and the name of its last row, in letters that fit everywhere."""

import base64
import binascii
import json
from datetime import datetime

from adapters.storage.rows import micros
from daemon.domain.errors import Code, Rejected
from daemon.domain.ids import NAME

_INT_END = 2**63


def page_mark(created_at: datetime, key: str) -> str:
    """Return the cursor after this row."""
    return base64.urlsafe_b64encode(json.dumps([micros(created_at), key]).encode()).decode()


def open_mark(cursor: str, verb: str) -> tuple[int, str]:
    """Return the microseconds and the name in a cursor. Raises Rejected(bad_field) for one that `verb` never gave."""
    try:
        created_at, key = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        if type(created_at) is not int or not 0 <= created_at < _INT_END or not NAME.fullmatch(key):
            raise ValueError("not a page mark")
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise Rejected(
            Code.BAD_FIELD, f"args.cursor is not one that {verb} gave", field="args.cursor"
        ) from error
    return created_at, key
