"""A hundred scheduled posts, sixty kills at moments that nobody chose (`TOKD_KILLS`, `TOKD_SEED`)."""

import os
import random
import threading
import time
from pathlib import Path

from tests.crash.campaign import SLOW, Campaign, heard_or_replayed
from tests.crash.ledgers import FINAL_EVENTS
from tests.crash.stage import Stage

KILLS = int(os.environ.get("TOKD_KILLS", "60"))
SEED = int(os.environ.get("TOKD_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
ACCOUNTS = tuple(f"creator-{number}" for number in range(1, 6))


def test_no_post_is_lost_or_doubled_by_kills_at_random_moments(tmp_path: Path) -> None:
    posts = max(20, KILLS * 100 // 60)
    print(f"seed {SEED}, {KILLS} kills, {posts} posts")
    stage = Stage(tmp_path, ACCOUNTS, persistence=True)
    daemon = stage.daemon(tmp_path / "daemon")
    caller = stage.caller(daemon, session_s=3600)
    begun = time.monotonic()
    try:
        campaign = Campaign(stage, daemon, caller, SEED)
        campaign.plan(ACCOUNTS, posts, over_s=max(20.0, KILLS * 0.9))
        stage.simulator.faults(*SLOW)
        insisting = threading.Thread(target=campaign.insist, name="caller")
        insisting.start()
        try:
            campaign.kill_some(KILLS, broker_kills=max(3, KILLS // 20) if KILLS > 5 else 1)
            campaign.finish(60 + posts / 2)
        finally:
            campaign.rest()
            insisting.join()
        replayed = daemon.events()
        assert daemon.stop() == 0, daemon.tail()
        findings, _ = campaign.read()
        campaign.tally.seconds = round(time.monotonic() - begun, 1)
        print(f"\n{campaign.tally}\n{findings}")
        for doubt in findings.uncertain:
            print(f"  uncertain: {doubt}")

        assert findings.wrong == {}
        sequences = heard_or_replayed(caller, replayed)
        assert sequences == list(range(1, sequences[-1] + 1))
        finals = [event["data"]["post"] for event in replayed if event["type"] in FINAL_EVENTS]
        assert len(finals) == len(set(finals)) == posts - len(findings.uncertain)
    finally:
        caller.close()
        daemon.kill()
        stage.close()
