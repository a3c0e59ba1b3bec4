"""The official AsyncAPI parser, which `make check` asks about the whole document, finds a wrong one out."""

import json
from pathlib import Path

from daemon.domain import asyncapi
from daemon.domain.commands import VERBS
from tests.node_tools import run_node


def test_the_official_parser_takes_a_document_of_ours_and_refuses_a_wrong_one(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right.json", tmp_path / "wrong.json"
    document = asyncapi.build([VERBS["system/ping"], VERBS["events/replay"]])  # few verbs: it is slow
    right.write_text(json.dumps(document))
    document["operations"]["system.ping"]["action"] = "publish"
    wrong.write_text(json.dumps(document))

    done = run_node("asyncapi_parse.mjs", str(right), str(wrong))
    errors = [line for line in done.stdout.splitlines() if ": Error: " in line]

    assert done.returncode == 1, done.stderr
    assert f"{right}: valid AsyncAPI 3.0.0" in done.stdout
    assert [line.startswith(f"{wrong}: Error: operations.system.ping.action") for line in errors] == [True]
