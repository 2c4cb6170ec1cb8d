# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for engines, models and cameras; import as ``from fakes import FakeEngine``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import dataclasses
from pathlib import Path
import threading
from typing import Any

import numpy as np

from rgbt_models.card import CARD_FILE, GRAPH_FILE, hash_file, MdiCalibration, ModelCard
from rgbt_models.label_sets import DETECTION_CLASSES, SEGMENTATION_CLASSES
from rgbt_models.normalise import ThermalNormaliser
from rgbt_perception.engine.base import EngineState
from rgbt_perception.errors import EngineError
from rgbt_perception.types import Batch, Frame, Modality, NS_PER_S, Pair, RawOutputs

NUM_LEVELS = 3
Box = tuple[float, float, float, float]


def rgb_frame(
    stamp_ns: int = 0, *, size_hw: tuple[int, int] = (48, 64), value: int | None = None
) -> Frame:
    """RGB frame of noise around 128, or of one value."""
    rng = np.random.default_rng(abs(stamp_ns))
    pixels = rng.integers(60, 200, (*size_hw, 3), np.uint8)
    if value is not None:
        pixels[:] = value
    return Frame(
        pixels=pixels, stamp_ns=stamp_ns, frame_id='rgb_optical_frame', modality=Modality.RGB
    )


def thermal_frame(
    stamp_ns: int = 0, *, size_hw: tuple[int, int] = (40, 56), value: int | None = None
) -> Frame:
    """16-bit thermal frame of counts around 29,500 (22 degrees C), or of one value."""
    rng = np.random.default_rng(abs(stamp_ns) + 1)
    pixels = rng.integers(29_000, 30_000, size_hw, np.uint16)
    if value is not None:
        pixels[:] = value
    return Frame(
        pixels=pixels,
        stamp_ns=stamp_ns,
        frame_id='thermal_optical_frame',
        modality=Modality.THERMAL,
    )


def build_pair(stamp_ns: int = NS_PER_S, *, skew_ns: int = 0) -> Pair:
    """Pair of a good RGB and a good thermal frame."""
    return Pair(rgb=rgb_frame(stamp_ns), thermal=thermal_frame(stamp_ns + skew_ns))


def build_outputs(
    input_hw: tuple[int, int],
    *,
    boxes: Sequence[tuple[int, float, Box]] = ((0, 0.9, (16.0, 8.0, 32.0, 40.0)),),
    class_id: int = 1,
    rgb_share: float = 0.5,
) -> RawOutputs:
    """Network outputs that decode to the given boxes and one segmentation class.

    Args:
        input_hw: Network input size, px, multiples of 16.
        boxes: Class id, score and network pixels (x0, y0, x1, y1) of each box.
        class_id: Segmentation class of every pixel.
        rgb_share: RGB share of every patch and level.
    """
    height, width = input_hw
    class_logits = np.full((1, len(boxes) + 1, len(DETECTION_CLASSES)), -20.0, np.float32)
    boxes_xyxy = np.zeros((1, len(boxes) + 1, 4), np.float32)
    for index, (box_class, score, box) in enumerate(boxes):
        class_logits[0, index, box_class] = np.log(score / (1.0 - score))
        boxes_xyxy[0, index] = box
    segmentation = np.zeros((1, len(SEGMENTATION_CLASSES), height // 4, width // 4), np.float32)
    segmentation[0, class_id] = 5.0
    return RawOutputs(
        class_logits=class_logits,
        boxes_xyxy=boxes_xyxy,
        segmentation_logits=segmentation,
        share_map=np.full((1, 1, height // 16, width // 16), rgb_share, np.float32),
        rgb_shares=np.full((1, NUM_LEVELS), rgb_share, np.float32),
        entropies=np.array([[0.4, 0.6]], np.float32),
    )


class FakeEngine:
    """Engine that gives what it was told and remembers what it was given.

    Attributes:
        outputs: Outputs, or a function of the batch; None = ``build_outputs`` for its size.
        error: Raised by ``run`` when it is not None.
        batches: Every batch that came, in order.
        is_closed: True after ``close``.
    """

    def __init__(
        self,
        outputs: RawOutputs | Callable[[Batch], RawOutputs] | None = None,
        *,
        error: Exception | None = None,
    ) -> None:
        self.backend, self.device, self.precision = 'fake', 'cpu', 'fp32'
        self.state = EngineState()
        self.outputs = outputs
        self.error = error
        self.batches: list[Batch] = []
        self.is_closed = False

    def run(self, batch: Batch) -> RawOutputs:
        self.batches.append(batch)
        if self.error is not None:
            raise self.error
        if isinstance(self.outputs, RawOutputs):
            return self.outputs
        if self.outputs is not None:
            return self.outputs(batch)
        return build_outputs((batch.rgb.shape[2], batch.rgb.shape[3]))

    def close(self) -> None:
        self.is_closed = True


class HangingEngine(FakeEngine):
    """Engine whose runs do not come back before ``release``, the first ``num_good`` excepted.

    Attributes:
        is_hanging: Set once a run hangs.
        came_back: Set when the hanging run has been let go.
    """

    def __init__(self, *, num_good: int = 0) -> None:
        super().__init__()
        self.num_good = num_good
        self.is_hanging, self.came_back = threading.Event(), threading.Event()
        self._released = threading.Event()

    def run(self, batch: Batch) -> RawOutputs:
        outputs = super().run(batch)
        if len(self.batches) > self.num_good:
            self.is_hanging.set()
            assert self._released.wait(60.0)
            self.came_back.set()
        return outputs

    def release(self) -> None:
        """Let the hanging run go on."""
        self._released.set()


class FailingEngine(FakeEngine):
    """Engine that raises in every run but the first ``num_good``, ``num_bad`` times if given."""

    def __init__(
        self, *, num_good: int = 0, num_bad: int | None = None, error: Exception | None = None
    ) -> None:
        super().__init__()
        self.num_good, self.num_bad = num_good, num_bad
        self.failure = error or EngineError('the accelerator said no')

    def run(self, batch: Batch) -> RawOutputs:
        outputs = super().run(batch)
        num_bad = len(self.batches) - self.num_good
        if num_bad > 0 and (self.num_bad is None or num_bad <= self.num_bad):
            raise self.failure
        return outputs


def build_card(
    folder: Path, *, input_hw: tuple[int, int] = (64, 80), graph_sha256: str = '0' * 64
) -> ModelCard:
    """Write a card without model files into ``folder`` and return it."""
    card = ModelCard(
        name='fake',
        version='1',
        architecture='tiny',
        input_hw=input_hw,
        size_multiple=16,
        rgb_mean=(0.4, 0.5, 0.6),
        rgb_std=(0.2, 0.25, 0.3),
        thermal_mean=0.4,
        thermal_std=0.25,
        thermal_normaliser=ThermalNormaliser(),
        detection_classes=DETECTION_CLASSES,
        segmentation_classes=SEGMENTATION_CLASSES,
        mdi_calibration=MdiCalibration(weights=(2.0, 4.0, 8.0), bias=0.1),
        weights_sha256='0' * 64,
        graph_sha256=graph_sha256,
        licence='Apache-2.0',
        training_data='none: made by a test',
        synthetic_only=True,
        folder=folder,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CARD_FILE).write_text(card.to_json(), encoding='utf-8')
    return card


def build_onnx_card(folder: Path, *, input_hw: tuple[int, int] = (64, 80)) -> ModelCard:
    """Write a card with a small real graph into ``folder`` and return it.

    The graph accepts any input whose sides are multiples of 16 and is a pure function of it: one
    person box of score 0.9 over the middle, the road everywhere, ``rgb_shares`` equal to
    ``available`` of RGB over their sum, entropies equal to ``available``.
    """
    import onnx

    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(_build_graph(input_hw), folder / GRAPH_FILE)
    card = build_card(folder, input_hw=input_hw, graph_sha256=hash_file(folder / GRAPH_FILE))
    return dataclasses.replace(card, folder=folder)


def _build_constants(input_hw: tuple[int, int]) -> dict[str, np.ndarray]:
    height, width = input_hw
    logits = np.full((1, 2, len(DETECTION_CLASSES)), -20.0, np.float32)
    logits[0, 0, 0] = np.log(9.0)
    middle = [[width / 4, height / 4, width * 3 / 4, height * 3 / 4], [0, 0, 1, 1]]
    road = np.zeros((len(SEGMENTATION_CLASSES), 3, 1, 1), np.float32)
    road_bias = np.zeros(len(SEGMENTATION_CLASSES), np.float32)
    road_bias[1] = 5.0
    return {
        'class_logits_value': logits,
        'boxes_value': np.array([middle], np.float32),
        'road': road,
        'road_bias': road_bias,
        'first': np.array([0], np.int64),
        'second': np.array([1], np.int64),
        'axis': np.array([1], np.int64),
        'levels': np.array([1, NUM_LEVELS], np.int64),
        'mean_rgb': np.full((1, 3, 1, 1), 1 / 3, np.float32),
        'zero': np.zeros(1, np.float32),
    }


def _build_graph(input_hw: tuple[int, int]) -> Any:
    from onnx import checker, helper, numpy_helper, TensorProto

    constants = _build_constants(input_hw)
    nodes = [
        # Constant outputs still depend on the inputs, as those of a real network do.
        helper.make_node('ReduceSum', ['available'], ['sum_available'], keepdims=1),
        helper.make_node('Mul', ['sum_available', 'zero'], ['nothing']),
        helper.make_node('Squeeze', ['nothing'], ['none']),
        helper.make_node('Add', ['class_logits_value', 'none'], ['class_logits']),
        helper.make_node('Add', ['boxes_value', 'none'], ['boxes_xyxy']),
        helper.make_node('AveragePool', ['rgb'], ['rgb4'], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node('Conv', ['rgb4', 'road', 'road_bias'], ['segmentation_logits']),
        helper.make_node(
            'AveragePool', ['thermal'], ['thermal16'], kernel_shape=[16, 16], strides=[16, 16]
        ),
        helper.make_node('Conv', ['thermal16', 'mean_rgb'], ['share_map']),
        helper.make_node('Slice', ['available', 'first', 'second', 'axis'], ['is_rgb']),
        helper.make_node('Div', ['is_rgb', 'sum_available'], ['share']),
        helper.make_node('Expand', ['share', 'levels'], ['rgb_shares']),
        helper.make_node('Identity', ['available'], ['entropies']),
    ]
    value = helper.make_tensor_value_info
    image = (TensorProto.FLOAT, [1, 3, 'h', 'w'])
    outputs = {
        'class_logits': [1, 2, 3],
        'boxes_xyxy': [1, 2, 4],
        'segmentation_logits': [1, 8, 'h4', 'w4'],
        'share_map': [1, 1, 'h16', 'w16'],
        'rgb_shares': [1, NUM_LEVELS],
        'entropies': [1, 2],
    }
    graph = helper.make_graph(
        nodes,
        'fake',
        [
            value('rgb', *image),
            value('thermal', *image),
            value('available', TensorProto.FLOAT, [1, 2]),
        ],
        [value(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    checker.check_model(model)
    return model
