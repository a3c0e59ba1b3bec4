"""The reliability scorecard: every promise as a row, faults injected and counted, a published table.

`python -m tests.scorecard --list` shows the rows, `make scorecard` runs those of a release.
"""
