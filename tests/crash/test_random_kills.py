"""A hundred scheduled posts, sixty kills at moments that nobody chose (`TOKD_KILLS`, `TOKD_SEED`)."""

import os
import random
from pathlib import Path

from tests.crash.campaign import Campaign
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
    try:
        campaign = Campaign(stage, daemon, caller, SEED)
        campaign.plan(ACCOUNTS, posts, over_s=max(20.0, KILLS * 0.9))
        campaign.hold(KILLS, broker_kills=max(3, KILLS // 20) if KILLS > 5 else 1)
        findings, _ = campaign.read()
        print(f"\n{campaign.tally}\n{findings}")
        for doubt in findings.uncertain:
            print(f"  uncertain: {doubt}")

        assert findings.wrong == {}
        campaign.check_events(len(findings.uncertain))
    finally:
        caller.close()
        daemon.kill()
        stage.close()
