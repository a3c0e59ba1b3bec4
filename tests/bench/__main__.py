"""`make bench`: every measurement, one after the other, on an otherwise quiet machine."""

from tests.bench import clone, idle, punctuality, roundtrip, upload

for part in (roundtrip, punctuality, upload, clone, idle):
    part.main()
