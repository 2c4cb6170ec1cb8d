# SPDX-License-Identifier: Apache-2.0
"""The policies of message_filters, and how the node chooses among all of them."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

from pairer_feed import rgb, thermal
import pytest

from rgbt_perception.config import FallbackConfig, SyncConfig
from rgbt_perception.errors import BackendUnavailableError
from rgbt_perception.ros.sync_filters import build_ros_pairer, StockPairer
from rgbt_perception.sync import Pairer
from rgbt_perception.types import DropReason, Frame, Pair

needs_message_filters = pytest.mark.skipif(
    importlib.util.find_spec('message_filters') is None,
    reason='needs message_filters (not on PyPI)',
)


class Stock:
    """A stock policy fed in milliseconds; checks the books after every frame."""

    def __init__(self, policy: str = 'approximate_time', **sync: Any) -> None:
        self.pairer = build_ros_pairer(SyncConfig(policy=policy, **sync), FallbackConfig())
        self.pairs: list[Pair] = []

    def push(self, frame: Frame, at_ms: float | None = None) -> list[tuple[float, float]]:
        at_ns = frame.stamp_ns if at_ms is None else round(at_ms * 1e6)
        pairs = self.pairer.push(frame, at_ns)
        self.pairs += pairs
        num_dropped = sum(self.pairer.dropped.values())
        num_known = 2 * len(self.pairs) + num_dropped + self.pairer.num_waiting
        assert sum(self.pairer.received.values()) == num_known
        return [(p.rgb.stamp_ns / 1e6, p.thermal.stamp_ns / 1e6) for p in pairs]  # type: ignore[union-attr]


def test_other_policies_are_built_without_message_filters():
    assert isinstance(build_ros_pairer(SyncConfig(), FallbackConfig()), Pairer)


@pytest.mark.parametrize('policy', ['approximate_time', 'exact_time'])
def test_absent_message_filters_is_named_with_the_package_and_the_way_out(
    policy: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, 'message_filters', None)
    expected = f"'{policy}', which needs message_filters.*apt.*set sync.policy to 'nearest'"
    with pytest.raises(BackendUnavailableError, match=expected):
        build_ros_pairer(SyncConfig(policy=policy), FallbackConfig())


@needs_message_filters
def test_streams_in_step_are_all_paired():
    stock = Stock(max_skew_s=0.02)
    for index in range(300):
        stock.push(rgb(1000 + index * 33))
        stock.push(thermal(1005 + index * 33))
    assert len(stock.pairs) == 300
    assert not stock.pairer.dropped


@needs_message_filters
def test_stock_takes_the_first_match_and_not_the_nearest():
    stock = Stock(max_skew_s=0.05)
    stock.push(rgb(1000))
    assert stock.push(thermal(1040)) == [(1000, 1040)]


@needs_message_filters
def test_exact_time_pairs_equal_stamps_only():
    stock = Stock('exact_time', offset_s=0.5)
    stock.push(rgb(1000))
    assert stock.push(thermal(1501)) == []
    assert stock.push(thermal(1500)) == [(1000, 1500)]
    assert [pair.skew_ns for pair in stock.pairs] == [0]


@needs_message_filters
def test_what_the_full_queue_throws_away_is_counted():
    stock = Stock(queue_size=3)
    for index in range(5):
        stock.push(rgb(1000 + index * 33))
    assert stock.pairer.dropped == {DropReason.QUEUE_FULL: 2}
    assert stock.pairer.num_waiting == 3


@needs_message_filters
def test_overwritten_frame_of_an_equal_stamp_is_counted():
    stock = Stock()
    stock.push(rgb(1000))
    stock.push(rgb(1000), at_ms=1001)
    assert stock.pairer.dropped == {DropReason.DUPLICATE_STAMP: 1}


@needs_message_filters
@pytest.mark.parametrize('policy', ['approximate_time', 'exact_time'])
def test_consumer_that_raises_leaves_no_lock_held(policy: str):
    stock = Stock(policy)
    stock.push(rgb(1000))

    def consume() -> None:
        stock.push(thermal(1000))
        raise RuntimeError

    with pytest.raises(RuntimeError):
        consume()
    stock.push(rgb(1033))
    assert stock.push(thermal(1033)) == [(1033, 1033)]
    assert isinstance(stock.pairer, StockPairer)


@needs_message_filters
@pytest.mark.parametrize('policy', ['approximate_time', 'exact_time'])
def test_stamp_that_the_message_cannot_hold_is_refused_before_the_lock(policy: str):
    stock = Stock(policy, offset_s=5.0)
    assert stock.push(thermal(1000)) == []
    assert stock.pairer.dropped == {DropReason.BAD_FRAME: 1}
    stock.push(rgb(6000))
    assert stock.push(thermal(11_000)) == [(6000, 11_000)]


@needs_message_filters
def test_window_and_offset_are_live():
    stock = Stock(max_skew_s=0.02)
    stock.push(rgb(1000))
    assert stock.push(thermal(2030)) == []
    changed = SyncConfig(policy='approximate_time', max_skew_s=0.05, offset_s=1.0)
    stock.pairer.reconfigure(changed, FallbackConfig())
    assert stock.push(thermal(2031)) == [(1000, 2031)]
    assert stock.pairer.offset_s == 1.0


@needs_message_filters
def test_constant_offset_is_found_and_applied():
    stock = Stock(offset_estimate='apply')
    for index in range(300):
        stock.push(rgb(1000 + index * 33))
        stock.push(thermal(3001 + index * 33), at_ms=1001 + index * 33)
    assert stock.pairer.offset_s == pytest.approx(2.0, abs=1e-6)
    assert len(stock.pairs) > 90


@needs_message_filters
def test_end_of_the_stream_counts_what_waits():
    stock = Stock()
    stock.push(rgb(1000))
    assert stock.pairer.next_deadline_ns is None
    assert stock.pairer.poll(10**12) == []
    assert stock.pairer.flush() == []
    assert stock.pairer.num_waiting == 0
    assert stock.pairer.dropped == {DropReason.NO_PARTNER: 1}
