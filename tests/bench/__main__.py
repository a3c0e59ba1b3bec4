"""`make bench`: every measurement, one after the other, on an otherwise quiet machine."""

from tests.bench import clone, idle, punctuality, roundtrip, sessions, upload

for part in (roundtrip, punctuality, upload, clone, sessions, idle):
    part.main()
