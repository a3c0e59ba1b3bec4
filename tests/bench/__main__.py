"""`make bench`: every measurement, one after the other, on an otherwise quiet machine."""

from tests.bench import clone, idle, media, punctuality, roundtrip, sessions, upload

for part in (roundtrip, punctuality, upload, media, clone, sessions, idle):
    part.main()
