"""Owners of leases."""

from __future__ import annotations

from effv2_tune.search.storage.leases import Owner


def test_a_process_that_is_gone_is_known_by_its_start_not_by_its_number_alone() -> None:
    me = Owner.of_this_process()
    reused_number = Owner(me.host, me.boot, me.pid, "1")
    elsewhere = Owner("another host", me.boot, 999999, "1")

    assert not me.is_dead(me)
    assert reused_number.is_dead(me)
    assert not elsewhere.is_dead(me)
