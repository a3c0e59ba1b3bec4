"""Keeping secrets out of text: the live ones we know, and whatever looks like one."""

import base64
import json
import re
import threading
from collections import Counter
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"

_SHORTEST = 6
_MOST_SECRETS = 5_000

# A name, = or : (quoted, JSON-escaped or URL-encoded), then a value up to where it can end.
# The value never takes a quote or backslash with it, so that redacted JSON stays JSON.
_NAMED = re.compile(
    r"((?:access_token|refresh_token|id_token|upload_token|client_secret|code_verifier|sessionid\w{0,16})"
    r"\\*[\"']?\s*(?:=|:|%3D|%3A)\s*)"
    r"(?:(\\*[\"'])[^\"'\\\n]*|[^&\s\"'\\,;}]+)",
    re.IGNORECASE,
)
_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(Bearer(?:\s|\\[nrt]|%20|\+)+)[^\s\"'\\,;]+", re.IGNORECASE), rf"\g<1>{REDACTED}"),
    # In JSON a line break is written \n, and its n stands right before the token.
    (re.compile(r"(?:(?<![A-Za-z])|(?<=\\[nrt]))(?:act|rft|clt)\.[\w!.~*%-]+"), REDACTED),
    (re.compile(r"://[^\s\"'/@:]*:[^\s\"'/]*@"), f"://{REDACTED}@"),
    (re.compile(r"((?:[?&]|%3F|%26)code(?:=|%3D))[^&\s\"'\\]+", re.IGNORECASE), rf"\g<1>{REDACTED}"),
    (
        re.compile(r"(\bcode=)[^&\s\"'\\]{1,1024}+(?=&(?:state|scopes|grant_type|client_|redirect_uri)\b)"),
        rf"\g<1>{REDACTED}",
    ),
)

# Up to so many forms, asking for each of them is quicker than cutting the text into pieces.
_FEW = 200


class Redactor:
    """Replaces secrets in text by `[redacted]`. Safe to use from any thread; `clean` takes no lock."""

    def __init__(self, most: int = _MOST_SECRETS) -> None:
        self._most = most
        self.redactions = 0  # texts that a secret was taken out of
        self._lock = threading.Lock()
        self._forms: dict[str, frozenset[str]] = {}  # by secret, oldest first
        self._uses: Counter[str] = Counter()
        # By their last characters (the first are alike, as in "https:" or "act."): a text is searched in
        # one pass, however many secrets there are.
        self._index: dict[str, tuple[str, ...]] = {}

    def add(self, secret: str) -> None:
        """Redact `secret` from now on, also URL-encoded, JSON-escaped and in base64.

        One shorter than 6 characters is ignored: it would blot out ordinary words. When there are more
        than `most`, the oldest is forgotten.
        """
        if len(secret) < _SHORTEST:
            return
        with self._lock:
            known = self._forms.pop(secret, None)
            self._forms[secret] = known or _forms_of(secret)
            if known is None:
                for form in self._forms[secret]:
                    self._count(form, 1)
            while len(self._forms) > self._most:
                for form in self._forms.pop(next(iter(self._forms))):
                    self._count(form, -1)

    def clean(self, text: str) -> str:
        """Return `text` without secrets; text without any comes back unchanged."""
        clean = self._without_known(text)
        clean = _NAMED.sub(rf"\g<1>\g<2>{REDACTED}", clean)
        for pattern, replacement in _PATTERNS:
            clean = pattern.sub(replacement, clean)
        return self._counted(text, clean)

    def clean_known(self, text: str) -> str:
        """Return `text` without the secrets that were added; what only looks like one stays.

        For what people have written themselves (titles, reasons), where a pattern would blot out honest words.
        """
        return self._counted(text, self._without_known(text))

    def _counted(self, text: str, clean: str) -> str:
        if clean != text:
            with self._lock:
                self.redactions += 1
        return clean

    def _without_known(self, text: str) -> str:
        index = self._index
        if len(index) <= _FEW:
            found = [form for forms in tuple(index.values()) for form in forms if form in text]
        else:
            ends = {text[at : at + _SHORTEST] for at in range(len(text) - _SHORTEST + 1)}
            found = [form for end in ends if end in index for form in index.get(end, ())]
        for form in sorted(found, key=len, reverse=True):
            text = text.replace(form, REDACTED)
        return text

    def _count(self, form: str, change: int) -> None:
        self._uses[form] += change
        end = form[-_SHORTEST:]
        others = tuple(other for other in self._index.get(end, ()) if other != form)
        if self._uses[form] <= 0:
            del self._uses[form]
        else:
            others = (*others, form)
        if others:
            self._index[end] = others
        else:
            self._index.pop(end, None)


def _forms_of(secret: str) -> frozenset[str]:
    forms = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), repr(secret)[1:-1]}
    for _ in range(2):  # JSON inside JSON is what a logged answer looks like
        forms |= {
            json.dumps(form, ensure_ascii=plain)[1:-1] for form in tuple(forms) for plain in (True, False)
        }
    forms |= _base64_forms(secret.encode())
    return frozenset(form for form in forms if len(form) >= _SHORTEST)


def _base64_forms(secret: bytes) -> set[str]:
    """Return how `secret` looks in base64, alone or anywhere inside something longer, like user:secret."""
    forms = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        alone = encode(secret).decode()
        forms |= {alone, alone.rstrip("=")}
        for before, cut in ((0, 0), (1, 2), (2, 3)):
            text = encode(bytes(before) + secret).decode().rstrip("=")
            # The first and last character also carry bits of the neighbours.
            inner = text[cut : len(text) - 1 if (before + len(secret)) % 3 else None]
            if len(inner) >= _SHORTEST:
                forms.add(inner)
    return forms
