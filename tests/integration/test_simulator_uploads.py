"""The simulator's upload URLs: statuses, progress, hashes, and the rules for chunks."""

import hashlib

import pytest

from adapters.simulator.chunks import is_valid_plan
from tests.integration.test_simulator import MB, Driver, chunks_of, started


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with started(tmp_path_factory.mktemp("simulator")) as driver:
        yield driver


@pytest.fixture
def simulator(running):
    running.console("reset")
    return running


SIZE = 12 * MB + 345
CONTENT = bytes(range(251)) * (SIZE // 251) + b"x" * (SIZE % 251)


def begin(simulator: Driver) -> tuple[str, str]:
    source = {
        "source": "FILE_UPLOAD",
        "video_size": SIZE,
        "chunk_size": 5 * MB,
        "total_chunk_count": SIZE // (5 * MB),
    }
    data = simulator.init(simulator.token(), source_info=source).json()["data"]
    return data["publish_id"], data["upload_url"]


def test_chunks_are_stored_in_order_and_hashed(simulator):
    publish_id, url = begin(simulator)

    answers = [simulator.put(url, first, data, SIZE) for first, data in chunks_of(CONTENT, 5 * MB)]

    assert [answer.status_code for answer in answers] == [206, 201]
    assert [answer.headers["Content-Range"] for answer in answers] == [
        f"bytes 0-{5 * MB}/{SIZE}",
        f"bytes 0-{SIZE}/{SIZE}",
    ]
    ledger = simulator.ledger()
    (file,) = ledger["files"]
    (publish,) = ledger["publishes"]
    assert file["sha256"] == publish["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert (file["size"], file["publish_id"], publish["open_id"]) == (SIZE, publish_id, "open-demo")
    assert [(row["first"], row["last"], row["status"]) for row in ledger["ranges"]] == [
        (0, 5 * MB - 1, 206),
        (5 * MB, SIZE - 1, 201),
    ]


def test_range_out_of_step_is_416_and_tells_the_progress(simulator):
    _, url = begin(simulator)
    (_, one), (first, two) = chunks_of(CONTENT, 5 * MB)

    assert simulator.put(url, first, two, SIZE).status_code == 416
    assert simulator.put(url, 0, one, SIZE).status_code == 206
    again = simulator.put(url, 0, one, SIZE)

    assert (again.status_code, again.headers["Content-Range"]) == (416, f"bytes 0-{5 * MB}/{SIZE}")


def test_stored_range_may_be_sent_again_when_the_policy_accepts_it(simulator):
    simulator.settings(reput_policy="accept", progress_header="last_index")
    _, url = begin(simulator)
    for first, data in chunks_of(CONTENT, 5 * MB):
        simulator.put(url, first, data, SIZE)

    again = simulator.put(url, 0, CONTENT[: 5 * MB], SIZE)

    assert (again.status_code, again.headers["Content-Range"]) == (201, f"bytes 0-{SIZE - 1}/{SIZE}")
    assert len(simulator.ledger()["files"]) == 1


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Content-Range": "bytes=0-4999999"}, id="malformed range"),
        pytest.param({"Content-Range": f"bytes 0-4999999/{SIZE + 1}"}, id="another total"),
        pytest.param({"Content-Range": f"bytes 0-4999998/{SIZE}"}, id="length is not the range's"),
        pytest.param({"Content-Type": "application/octet-stream"}, id="no video"),
    ],
)
def test_bad_headers_are_400(simulator, headers):
    _, url = begin(simulator)
    assert simulator.put(url, 0, CONTENT[: 5 * MB], SIZE, headers).status_code == 400


def test_chunk_of_another_size_than_announced_is_400(simulator):
    _, url = begin(simulator)
    assert simulator.put(url, 0, CONTENT[: 6 * MB], SIZE).status_code == 400


def test_chunked_transfer_encoding_is_400(simulator):
    _, url = begin(simulator)
    headers = {"Content-Type": "video/mp4", "Content-Range": f"bytes 0-{5 * MB - 1}/{SIZE}"}
    answer = simulator.session.put(url, data=iter([CONTENT[: 5 * MB]]), headers=headers, timeout=10)
    assert answer.status_code == 400


def test_expired_url_is_403_and_unknown_one_404(simulator):
    _, url = begin(simulator)
    assert simulator.put(url + "0", 0, CONTENT[: 5 * MB], SIZE).status_code == 404

    simulator.console("clock", {"advance_seconds": 3600})

    assert simulator.put(url, 0, CONTENT[: 5 * MB], SIZE).status_code == 403


PLANS = [
    (4194304, 4194304, 1, True),
    (5000000, 5000000, 1, True),
    (50000123, 10000000, 5, True),
    (64000000, 64000000, 1, True),
    (64000001, 10000000, 6, True),
    (67108864, 10000000, 6, True),
    (79999999, 10000000, 7, True),
    (4294967296, 10000000, 429, True),
    (64000001, 64000001, 1, False),
    (15000000, 10000000, 1, False),
    (4194304, 2000000, 2, False),
    (50000123, 10000000, 6, False),
    (50000123, 4999999, 10, False),
    (200000000, 64000001, 3, False),
    (4294967297, 10000000, 429, False),
    (0, 0, 1, False),
]


@pytest.mark.parametrize(("size", "chunk_size", "count", "is_valid"), PLANS)
def test_chunk_plans_follow_the_table(size, chunk_size, count, is_valid):
    assert is_valid_plan(size, chunk_size, count, binary_mb=False) is is_valid


def test_binary_megabytes_allow_a_single_chunk_of_64_mib():
    assert is_valid_plan(67108864, 67108864, 1, binary_mb=True)
    assert not is_valid_plan(67108865, 67108865, 1, binary_mb=True)


def test_bad_plan_is_refused_at_init(simulator):
    source = {"source": "FILE_UPLOAD", "video_size": 66259900, "chunk_size": 66259900, "total_chunk_count": 1}
    token = simulator.token()

    answer = simulator.init(token, source_info=source)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_params")
    assert error["message"] == "The chunk size is invalid"
    simulator.settings(invalid_param_spelling="invalid_param", omit_data_on_error=True)
    again = simulator.init(token, source_info=source).json()
    assert again["error"]["code"] == "invalid_param"
    assert "data" not in again
