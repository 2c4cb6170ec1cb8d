# SPDX-License-Identifier: Apache-2.0
"""Evaluation of cameras that fail half-way, compared with the mode that was trained for it.

The first half of the pairs is good. In the second half one camera fails, and the pipeline is not
told: it has to find out. All rows are measured on the second half only, the intact ones too, so
that their numbers compare.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from rgbt_models.card import ModelCard
from rgbt_perception.errors import DatasetError
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.scores import Scores
from rgbt_perception.truth import TruthPair
from rgbt_perception.types import ByteArray, Frame, Mode, NS_PER_S, Pair, Result

# Between two pairs of a source without stamps of its own.
STEP_NS = NS_PER_S // 10
MIN_PAIRS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One way in which a camera fails.

    Attributes:
        text: What happens, for people.
        fail: Makes the failing pair of the good pair and the last pair before the failure.
        expected: Mode the pipeline should find.
        compared_with: Variant of the evaluation that shows this mode.
    """

    text: str
    fail: Callable[[Pair, Pair], Pair]
    expected: Mode
    compared_with: str


def _blacken_rgb(pair: Pair, last_good: Pair) -> Pair:  # noqa: ARG001 - same call for all
    rgb = pair.rgb
    return (
        pair if rgb is None else replace(pair, rgb=replace(rgb, pixels=np.zeros_like(rgb.pixels)))
    )


def _freeze_thermal(pair: Pair, last_good: Pair) -> Pair:
    if pair.thermal is None or last_good.thermal is None:
        return pair
    return replace(pair, thermal=replace(pair.thermal, pixels=last_good.thermal.pixels))


def _lose_thermal(pair: Pair, last_good: Pair) -> Pair:  # noqa: ARG001 - same call for all
    return replace(pair, thermal=None)


FAILURES = {
    'rgb_black': Failure(
        text='RGB turns black',
        fail=_blacken_rgb,
        expected=Mode.THERMAL_ONLY,
        compared_with='thermal_only',
    ),
    'thermal_frozen': Failure(
        text='thermal repeats its last image',
        fail=_freeze_thermal,
        expected=Mode.RGB_ONLY,
        compared_with='rgb_only',
    ),
    'thermal_missing': Failure(
        text='thermal stops',
        fail=_lose_thermal,
        expected=Mode.RGB_ONLY,
        compared_with='rgb_only',
    ),
}


@dataclass(slots=True, eq=False, kw_only=True)
class _Run:
    """Results of one failure so far."""

    scores: Scores
    modes: Counter[str] = field(default_factory=Counter)
    num_unnoticed: int = 0
    is_noticed: bool = False


class FailureRuns:
    """Runs pairs whose second half has a failing camera, once for each failure."""

    def __init__(self, card: ModelCard, *, num_pairs: int, step_ns: int | None = None) -> None:
        """Start before the first pair.

        Args:
            card: Card of the model.
            num_pairs: Pairs that will come; the failure begins after half of them.
            step_ns: Time between two pairs of a source whose stamps say nothing, nanoseconds;
                None = use the stamps as they are.

        Raises:
            DatasetError: If there are fewer than two pairs.
        """
        if num_pairs < MIN_PAIRS:
            raise DatasetError(
                f'the source has {num_pairs} pairs, expected at least {MIN_PAIRS} to let a camera '
                f'fail half-way; evaluate without failures, or add pairs'
            )
        self._num_good = num_pairs // 2
        self._step_ns = step_ns
        self._index = 0
        self._last_good: Pair | None = None
        self._runs = {name: _Run(scores=Scores(card)) for name in FAILURES}
        names = {failure.compared_with for failure in FAILURES.values()}
        self._intact = {name: Scores(card) for name in sorted({'fused', *names})}

    def add(
        self,
        item: TruthPair,
        truth_map: ByteArray | None,
        results: Mapping[str, Result],
        pipelines: Mapping[str, Pipeline],
    ) -> None:
        """Run one pair in all failures.

        Args:
            item: The good pair with its ground truth.
            truth_map: Label map in the card's classes, None when there is none.
            results: What the intact variants made of this pair.
            pipelines: Pipeline of each failure, by its name; must see all pairs in order.
        """
        pair = self._stamped(item.pair)
        is_good = self._index < self._num_good
        self._index += 1
        if is_good:
            self._last_good = pair
        assert self._last_good is not None  # at least one pair is good
        for name, failure in FAILURES.items():
            failing = pair if is_good else failure.fail(pair, self._last_good)
            result = pipelines[name].run(failing)
            if not is_good:
                self._note(name, result)
                self._runs[name].scores.add(item, truth_map, result)
        if not is_good:
            for name, scores in self._intact.items():
                scores.add(item, truth_map, results[name])

    def metrics(self) -> dict[str, Any]:
        """Compute the metrics of the second half as JSON values."""
        intact = {name: scores.metrics() for name, scores in self._intact.items()}
        failing = {}
        for name, run in self._runs.items():
            failure = FAILURES[name]
            failing[name] = {
                **run.scores.metrics(),
                'text': failure.text,
                'compared_with': failure.compared_with,
                'modes': dict(sorted(run.modes.items())),
                'unnoticed_pairs': run.num_unnoticed,
            }
        return {
            'first_failing_pair': self._num_good,
            'pairs': max(0, self._index - self._num_good),
            **intact,
            **failing,
        }

    def _note(self, name: str, result: Result) -> None:
        run = self._runs[name]
        run.modes[result.mode.value] += 1
        run.is_noticed = run.is_noticed or result.mode is FAILURES[name].expected
        run.num_unnoticed += not run.is_noticed

    def _stamped(self, pair: Pair) -> Pair:
        """Give a pair stamps that count up, when its own say nothing."""
        if self._step_ns is None:
            return pair
        stamp_ns = (self._index + 1) * self._step_ns

        def stamped(frame: Frame | None) -> Frame | None:
            return None if frame is None else replace(frame, stamp_ns=stamp_ns)

        return Pair(rgb=stamped(pair.rgb), thermal=stamped(pair.thermal))
