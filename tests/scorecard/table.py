"""Every row of the scorecard, in one table."""

from itertools import groupby

from tests.scorecard import rows_release, rows_weekly

RELEASE, WEEKLY = rows_release.ROWS, rows_weekly.ROWS
_PARTS = {part: tuple(rows) for part, rows in groupby((*RELEASE, *WEEKLY), key=lambda row: row.part)}
ROWS = tuple(row for part in sorted(_PARTS) for row in _PARTS[part])
