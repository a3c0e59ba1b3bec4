"""`make bench`: every measurement, one after the other, on an otherwise quiet machine."""

from tests.bench import clone, http, idle, media, punctuality, roundtrip, sessions, upload

for part in (roundtrip, http, punctuality, upload, media, clone, sessions, idle):
    part.main()
