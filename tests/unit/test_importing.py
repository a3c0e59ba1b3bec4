"""The garbage collector rests while modules are imported, and works on afterwards."""

import gc

from daemon.importing import without_collections


def test_the_collector_rests_inside_and_works_on_after_it() -> None:
    assert gc.isenabled()

    with without_collections():
        assert not gc.isenabled()

    assert gc.isenabled()


def test_an_inner_use_leaves_the_collector_off_until_the_outer_one_ends() -> None:
    with without_collections():
        with without_collections():
            pass

        assert not gc.isenabled()


def test_the_collector_works_on_after_an_import_that_failed() -> None:
    try:
        with without_collections():
            raise ImportError("there is no such module")
    except ImportError:
        pass

    assert gc.isenabled()


def test_what_was_made_inside_is_looked_at_no_more() -> None:
    before = gc.get_freeze_count()

    with without_collections():
        kept = [[] for _ in range(1000)]

    assert gc.get_freeze_count() >= before + len(kept)
