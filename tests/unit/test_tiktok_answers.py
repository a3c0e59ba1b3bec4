"""Reading TikTok's answers: codes, ids, addresses, and nothing secret in what is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tiktok import errors
from adapters.tiktok.addresses import may_upload_to, scrub
from adapters.tiktok.answers import count, open_envelope, public_ids
from adapters.tiktok.oauth import pkce_challenge
from adapters.tiktok.settings import TikTokSettings
from adapters.tiktok.uploader import TikTokUploader
from daemon.domain.errors import Fault
from tests.unit.test_tiktok_metadata import FrozenClock

API = "https://open.tiktokapis.com"
HOSTS = TikTokSettings().upload_hosts
F = Fault

# tiktok-api.md section 5, classed by posts-and-schedulers.md section 4.5.
API_CODES = {
    "invalid_param": F.CONTENT, "invalid_params": F.CONTENT, "app_version_check_failed": F.CONTENT,
    "invalid_publish_id": F.UNKNOWN_OUTCOME, "publish_not_cancellable": F.UNKNOWN_OUTCOME,
    "token_not_authorized_for_specified_publish_id": F.UNKNOWN_OUTCOME, "access_token_invalid": F.AUTH,
    "scope_not_authorized": F.SCOPE, "scope_permission_missed": F.SCOPE, "invalid_file_upload": F.CONTENT,
    "spam_risk_too_many_posts": F.CAP, "spam_risk_user_banned_from_posting": F.BANNED,
    "spam_risk_too_many_pending_share": F.CAP, "reached_active_user_cap": F.CAP,
    "unaudited_client_can_only_post_to_private_accounts": F.AUDIT, "url_ownership_unverified": F.CONTENT,
    "privacy_level_option_mismatch": F.AUDIT, "rate_limit_exceeded": F.RATE,
    "internal_error": F.UNKNOWN_OUTCOME,
}  # fmt: skip
FAIL_REASONS = {
    "file_format_check_failed": F.CONTENT, "duration_check_failed": F.CONTENT,
    "frame_rate_check_failed": F.CONTENT, "picture_size_check_failed": F.CONTENT,
    "internal": F.REMOTE_INTERNAL, "video_pull_failed": F.REMOTE_PULL, "photo_pull_failed": F.REMOTE_PULL,
    "publish_cancelled": F.CANCELLED, "auth_removed": F.AUTH, "spam_risk_too_many_posts": F.CAP,
    "spam_risk_user_banned_from_posting": F.BANNED, "spam_risk_text": F.CONTENT, "spam_risk": F.CONTENT,
}  # fmt: skip


def test_every_code_has_its_class() -> None:
    assert {row.code: row.fault for row in errors.api_codes()} == API_CODES
    assert {row.code: row.fault for row in errors.fail_reasons()} == FAIL_REASONS


def test_every_code_stands_once_and_says_what_to_do_and_where_it_is_written() -> None:
    for table in (errors.api_codes(), errors.fail_reasons(), errors.oauth_codes()):
        assert len({row.code for row in table}) == len(table)
        assert all(row.advice.endswith(".") and row.source for row in table)


def test_a_code_that_no_table_has_is_unknown() -> None:
    assert errors.find("new", errors.api_codes()) is None
    assert errors.unknown("new").fault is Fault.UNKNOWN_CODE


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (None, ()),
        ([], ()),
        ([7678907398077074696], ("7678907398077074696",)),
        (7678907398077074696, ("7678907398077074696",)),
        ("7678907398077074696", ("7678907398077074696",)),
        (["1", 2, " 1 ", None, True, 0, "", {}, 1.5, "a/b"], ("1", "2")),
        ({"id": 1}, ()),
    ],
)
def test_public_ids_come_in_any_shape_and_leave_as_text(value: object, ids: tuple[str, ...]) -> None:
    assert public_ids(value) == ids


@pytest.mark.parametrize(
    ("value", "number"), [(5, 5), ("5", 5), (0, 0), (-1, None), (True, None), (1.5, None), ("x", None)]
)
def test_a_count_is_a_number_or_its_digits(value: object, number: int | None) -> None:
    assert count(value) == number


@pytest.mark.parametrize(
    ("body", "code", "log_id"),
    [
        (b'{"data":{},"error":{"code":"ok","message":"","log_id":"a"}}', "ok", "a"),
        (b'{"error":{"code":"ok","logid":"b"}}', "ok", "b"),
        (b'{"error":{"code":"x","message":null,"log_id":7}}', "x", None),
        (b'{"error":{"code":""}}', None, None),
        (b'{"error":"invalid_grant"}', None, None),
        (b'{"data":{"publish_id":"p"}}', None, None),
        (b"[1]", None, None),
        (b"null", None, None),
        (b"", None, None),
    ],
)
def test_an_envelope_is_read_leniently_and_never_guessed(
    body: bytes, code: str | None, log_id: str | None
) -> None:
    found = open_envelope(body)

    assert (found.code, found.log_id) == (code, log_id)


@given(st.binary())
def test_no_bytes_can_break_the_envelope_parser(body: bytes) -> None:
    assert open_envelope(body).code is None


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://open-upload.tiktokapis.com/video/?upload_id=1&upload_token=x", True),
        ("https://upload.us.tiktokapis.com/upload/?x", True),
        ("https://UPLOAD.US.TIKTOKAPIS.COM:443/", True),
        ("http://upload.us.tiktokapis.com/", False),
        ("https://upload.us.tiktokapis.com:8443/", False),
        ("https://upload.a.b.tiktokapis.com/", False),
        ("https://upload..tiktokapis.com/", False),
        ("https://upload.tiktokapis.com/", False),
        ("https://upload.us.tiktokapis.com.evil.example/", False),
        ("https://evil.example/upload.us.tiktokapis.com", False),
        ("https://evil.example\\@upload.us.tiktokapis.com/", False),
        ("https://user@upload.us.tiktokapis.com/", False),
        ("https://upload.us.tiktokapis.com@evil.example/", False),
        ("https://upload.ü.tiktokapis.com/", False),
        ("https://upload.us.tiktokapis.com/\r\nX: y", False),
        ("https://[::1", False),
        ("http://127.0.0.1/upload", False),
        ("https://localhost/upload", False),
        ("ftp://upload.us.tiktokapis.com/", False),
        ("", False),
    ],
)
def test_media_goes_only_to_known_hosts(url: str, is_allowed: bool) -> None:
    assert may_upload_to(url, HOSTS, API) is is_allowed


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/u", "http://localhost:9/u", "http://[::1]:9/u"])
def test_a_loopback_upload_host_is_taken_only_where_the_api_is_on_loopback(url: str) -> None:
    assert may_upload_to(url, HOSTS, "http://127.0.0.1:8080")
    assert not may_upload_to("http://10.0.0.1/u", HOSTS, "http://127.0.0.1:8080")
    assert not may_upload_to(url, HOSTS, API)


@pytest.mark.parametrize(
    "base", ["http://open.tiktokapis.com", "ftp://127.0.0.1", "", "https://u:p@x.example", "https://x/?q=1"]
)
def test_tokens_never_travel_in_clear_text_to_another_machine(base: str) -> None:
    with pytest.raises(ValueError, match="api_base"):
        TikTokSettings(api_base=base)


def test_settings_do_not_show_the_client_secret() -> None:
    assert "canary" not in repr(TikTokSettings(client_key="k", client_secret="canary"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("bad token act.abc!1*x, sorry", "bad token [secret], sorry"),
        ("rft.abc and Bearer xyz", "[secret] and [secret]"),
        ("see https://h.example/p?upload_token=1#f now", "see https://h.example/p now"),
        ("the key s3cr3t", "the key [secret]"),
        ("line\nbreak\x1b[0m", "line break [0m"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_foreign_text_is_shown_without_secrets_on_one_line(text: str, shown: str) -> None:
    assert scrub(text, "s3cr3t", "") == shown


def test_the_pkce_challenge_is_lower_case_hex() -> None:
    assert pkce_challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == (
        "13d31e961a1ad8ec2f16b10c4c982e0876a878ad6df144566ee1894acb70f9c3"
    )


@pytest.mark.parametrize("verifier", [None, "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"])
def test_the_authorisation_address_has_commas_between_scopes_and_pkce_only_on_demand(
    verifier: str | None,
) -> None:
    settings = TikTokSettings(client_key="key", client_secret="canary")

    url = TikTokUploader(settings, FrozenClock()).authorize_url(
        "st", ("a", "b"), "http://127.0.0.1:1/c/", verifier
    )

    assert url == (
        "https://www.tiktok.com/v2/auth/authorize/?client_key=key&response_type=code&scope=a%2Cb"
        "&redirect_uri=http%3A%2F%2F127.0.0.1%3A1%2Fc%2F&state=st"
        + (
            ""
            if verifier is None
            else "&code_challenge=13d31e961a1ad8ec2f16b10c4c982e0876a878ad6df144566ee1894acb70f9c3"
            "&code_challenge_method=S256"
        )
    )


def test_the_web_flow_can_ask_a_person_who_has_agreed_before() -> None:
    uploader = TikTokUploader(TikTokSettings(client_key="key"), FrozenClock())

    url = uploader.authorize_url("st", ("a",), "https://example.com/c", always_asks=True)

    assert url.endswith("&state=st&disable_auto_auth=1")
