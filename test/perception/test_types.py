# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import dataclasses

from fakes import rgb_frame, thermal_frame
import numpy as np
import pytest

import rgbt_perception
from rgbt_perception.errors import (
    BackendUnavailableError,
    BagError,
    ConfigError,
    EngineError,
    FrameError,
    RGBTError,
    ShapeError,
)
from rgbt_perception.types import Detections, Frame, Modality, Pair, StageTimes


def build_frame(pixels: np.ndarray, modality: Modality) -> Frame:
    return Frame(pixels=pixels, stamp_ns=0, frame_id='', modality=modality)


def test_size_is_height_then_width():
    assert rgb_frame(size_hw=(3, 5)).size_hw == (3, 5)
    assert thermal_frame(size_hw=(7, 2)).size_hw == (7, 2)


@pytest.mark.parametrize(
    ('shape', 'dtype'),
    [((4, 5), np.uint8), ((4, 5, 4), np.uint8), ((4, 5, 3), np.float32), ((0, 5, 3), np.uint8)],
)
def test_pixels_that_are_no_rgb_image_are_refused(shape: tuple[int, ...], dtype: type):
    with pytest.raises(ShapeError, match=r'rgb pixels is .*, expected uint8 \(h, w, 3\)'):
        build_frame(np.zeros(shape, dtype), Modality.RGB)


@pytest.mark.parametrize(
    ('shape', 'dtype'),
    [((4, 5, 1), np.uint8), ((4, 5), np.int16), ((4, 5), np.float64), ((4, 0), np.uint16)],
)
def test_pixels_that_are_no_thermal_image_are_refused(shape: tuple[int, ...], dtype: type):
    with pytest.raises(
        ShapeError, match=r'thermal pixels is .*, expected uint8, uint16 or float32'
    ):
        build_frame(np.zeros(shape, dtype), Modality.THERMAL)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_thermal_types_are_accepted(dtype: type):
    build_frame(np.zeros((4, 5), dtype), Modality.THERMAL)


def test_reference_is_rgb_when_there_is_one():
    rgb, thermal = rgb_frame(), thermal_frame()
    assert Pair(rgb=rgb, thermal=thermal).reference is rgb
    assert Pair(rgb=None, thermal=thermal).reference is thermal


def test_skew_is_thermal_minus_rgb():
    assert Pair(rgb=rgb_frame(1000), thermal=thermal_frame(1300)).skew_ns == 300
    assert Pair(rgb=rgb_frame(1000), thermal=None).skew_ns is None
    # A thermal clock 500 ns ahead: the images are 200 ns apart, RGB later.
    ahead = Pair(rgb=rgb_frame(1000), thermal=thermal_frame(1300), offset_ns=500)
    assert ahead.skew_ns == -200


def test_pair_of_nothing_is_refused():
    with pytest.raises(ShapeError, match='pair is empty, expected at least one frame'):
        Pair(rgb=None, thermal=None)


@pytest.mark.parametrize(
    ('score', 'kept'), [(0.5, [0.9, 0.5]), (0.95, []), (0.0, [0.9, 0.5, 0.1])]
)
def test_detections_from_a_score_on(score, kept):
    scores = np.array([0.9, 0.5, 0.1], np.float32)
    detections = Detections(
        boxes_xyxy=np.arange(12, dtype=np.float32).reshape(3, 4),
        scores=scores,
        class_ids=np.array([3, 2, 1]),
    )
    found = detections.at_least(score)
    assert found.scores.tolist() == pytest.approx(kept)
    assert found.boxes_xyxy[:, 0].tolist() == [0.0, 4.0, 8.0][: len(kept)]
    assert found.class_ids.tolist() == [3, 2, 1][: len(kept)]


def test_detections_must_fit_together():
    good = {
        'boxes_xyxy': np.zeros((2, 4), np.float32),
        'scores': np.zeros(2, np.float32),
        'class_ids': np.zeros(2, np.int64),
    }
    assert len(Detections(**good)) == 2
    with pytest.raises(ShapeError, match=r'boxes_xyxy is \(2, 5\), expected \(n, 4\)'):
        Detections(**{**good, 'boxes_xyxy': np.zeros((2, 5), np.float32)})
    with pytest.raises(ShapeError, match=r'scores is \(3,\), expected \(2,\)'):
        Detections(**{**good, 'scores': np.zeros(3, np.float32)})


def test_latency_is_the_sum_of_the_stages():
    assert StageTimes(preprocess_ms=1.0, infer_ms=20.0, postprocess_ms=0.5).latency_ms == 21.5


def test_nouns_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        rgb_frame().stamp_ns = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ('error', 'builtin'),
    [
        (BackendUnavailableError, ImportError),
        (BagError, ValueError),
        (ConfigError, ValueError),
        (EngineError, RuntimeError),
        (FrameError, ValueError),
        (ShapeError, ValueError),
    ],
)
def test_errors_have_one_root_and_refine_a_builtin(error: type, builtin: type):
    assert issubclass(error, RGBTError)
    assert issubclass(error, builtin)


def test_public_names_are_few_and_there():
    assert len(rgbt_perception.__all__) <= 25
    for name in rgbt_perception.__all__:
        assert hasattr(rgbt_perception, name)
