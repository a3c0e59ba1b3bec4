"""`make bench`: every measurement, one after the other, on an otherwise quiet machine."""

from tests.bench import idle, punctuality, roundtrip, upload

for part in (roundtrip, punctuality, upload, idle):
    part.main()
