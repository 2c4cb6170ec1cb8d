# SPDX-License-Identifier: Apache-2.0
"""What runs on CUDA around the network, on CPU tensors, against the stages of the CPU."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
import dataclasses
from pathlib import Path

from engine_opener import engine_factory, Opener, QUICK, wait_for
from fakes import build_card, build_outputs, build_pair, FakeEngine, rgb_frame, thermal_frame
from made_outputs import as_tensors, draw_outputs, INPUT_HW, SOURCES
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch_engines import build_torch_card, HW, torch_config

from rgbt_models.card import ModelCard
from rgbt_perception.config import build_config, OutputConfig
from rgbt_perception.engine import torch_stages
from rgbt_perception.engine.stages import Images, perceive
from rgbt_perception.engine.torch import load_network, TorchEngine
from rgbt_perception.engine.torch_stages import TorchStages
from rgbt_perception.errors import EngineError
from rgbt_perception.geometry import letterbox_transform
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.postprocess import decode_label_map
from rgbt_perception.preprocess import build_batch
from rgbt_perception.types import Mode, Pair, RawOutputs, Result, UNLABELED

CPU = torch.device('cpu')
LABELLED = [(24, 40), (96, 160), (480, 800), (101, 67), (90, 150), (7, 5)]


@pytest.fixture
def card(tmp_path: Path) -> ModelCard:
    return build_card(tmp_path)


def build_images(
    card: ModelCard,
    source_hw: tuple[int, int],
    mode: Mode = Mode.FUSED,
    input_hw: tuple[int, int] = INPUT_HW,
) -> Images:
    rgb = None if mode is Mode.THERMAL_ONLY else rgb_frame(size_hw=source_hw)
    raw = None if mode is Mode.RGB_ONLY else thermal_frame(size_hw=source_hw)
    thermal = None if raw is None else card.thermal_normaliser(raw.pixels)
    pair = Pair(rgb=rgb, thermal=raw)
    return Images(pair=pair, mode=mode, thermal=thermal, card=card, input_hw=input_hw)


def with_common_classes(card: ModelCard) -> ModelCard:
    """Return a card of as many classes as ``draw_outputs`` has, three of them in both lists."""
    return dataclasses.replace(
        card, detection_classes=tuple('abcdefg'), segmentation_classes=tuple('xbzdgy')
    )


@pytest.mark.parametrize('mode', [Mode.FUSED, Mode.RGB_ONLY, Mode.THERMAL_ONLY])
@pytest.mark.parametrize('source_hw', SOURCES)
def test_inputs_are_those_of_the_cpu_but_for_rounding_of_rgb(card, source_hw, mode):
    images = build_images(card, source_hw, mode)
    wanted = build_batch(images.pair, mode, images.thermal, card, INPUT_HW)
    rgb, thermal, available = (value.numpy() for value in TorchStages(CPU).prepare(images))
    np.testing.assert_array_equal(available, wanted.available)
    np.testing.assert_allclose(thermal, wanted.thermal, atol=2e-5)
    levels = 255.0 * np.array(card.rgb_std)[:, None, None] * (rgb - wanted.rgb)
    assert np.abs(levels).max() < 1.0


def test_a_blind_rgb_frame_gives_only_the_size(card):
    images = dataclasses.replace(build_images(card, (101, 67)), mode=Mode.THERMAL_ONLY)
    wanted = build_batch(images.pair, images.mode, images.thermal, card, INPUT_HW)
    rgb, thermal, available = TorchStages(CPU).prepare(images)
    assert not rgb.any()
    assert available.tolist() == [[0, 1]]
    np.testing.assert_allclose(thermal.numpy(), wanted.thermal, atol=2e-5)


def test_label_maps_are_those_of_the_cpu_but_for_ties_within_rounding():
    num_ties = num_pixels = 0
    for source_hw in LABELLED:
        letterbox = letterbox_transform(source_hw, INPUT_HW)
        for seed in range(3):
            raw = draw_outputs(seed)
            planes = torch.from_numpy(raw.segmentation_logits[0])
            stages = TorchStages(CPU)
            found = stages.label_pixels(planes, letterbox, source_hw).numpy()
            wanted = decode_label_map(raw, letterbox, source_hw)
            assert found.dtype == np.uint8
            differs = found != wanted
            num_ties, num_pixels = num_ties + int(differs.sum()), num_pixels + differs.size
            operator = stages._labelling(letterbox, source_hw, tuple(planes.shape[1:]))
            best = (operator.rows @ planes @ operator.columns).sort(dim=0).values.numpy()
            lead = (best[-1] - best[-2]) / float(planes.max() - planes.min())
            assert (lead[differs] < 1e-5).all()
    assert num_ties < 1e-4 * num_pixels


def test_the_lower_id_wins_where_logits_are_equal_and_bands_leave_no_seam(monkeypatch):
    planes = torch.from_numpy(draw_outputs(0).segmentation_logits[0])
    letterbox, source_hw = letterbox_transform((480, 640), INPUT_HW), (480, 640)
    whole = TorchStages(CPU).label_pixels(planes, letterbox, source_hw)
    monkeypatch.setattr('rgbt_perception.engine.torch_stages.MAX_LOGITS', 6 * 640 * 7)
    banded = TorchStages(CPU).label_pixels(planes, letterbox, source_hw)
    assert (banded != whole).float().mean() < 1e-4  # matrices of other sizes round otherwise
    doubled = TorchStages(CPU).label_pixels(planes.repeat(2, 1, 1), letterbox, source_hw)
    assert doubled.max() < len(planes)


class Given:
    """Network that gives prepared outputs."""

    def __init__(self, raw: RawOutputs) -> None:
        self.raw = raw

    def __call__(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return as_tensors(self.raw)


@pytest.mark.parametrize(('num_classes', 'num_labels'), [(0, 6), (7, 0)])
def test_a_model_that_detects_or_labels_nothing(card, num_classes, num_labels):
    card = with_common_classes(card)
    card = dataclasses.replace(
        card,
        detection_classes=card.detection_classes[:num_classes],
        segmentation_classes=card.segmentation_classes[:num_labels],
    )
    num_anchors = 400 if num_classes else 0
    raw = draw_outputs(0, num_anchors=num_anchors, num_classes=num_classes, num_labels=num_labels)
    found = TorchStages(CPU).perceive(Given(raw), build_images(card, (101, 67)), OutputConfig())
    assert (len(found.detections) > 0) == (num_classes > 0)
    assert found.label_map.shape == (101, 67)
    assert (found.label_map != UNLABELED).all() == (num_labels > 0)
    np.testing.assert_array_equal(found.share_map, raw.share_map)


@pytest.mark.parametrize('name', ['class_logits', 'boxes_xyxy', 'segmentation_logits'])
def test_outputs_that_are_not_finite_are_refused(card, name):
    card, raw = with_common_classes(card), draw_outputs(0)
    getattr(raw, name).flat[3] = np.nan
    with pytest.raises(EngineError, match=f"output '{name}' of the network has non-finite"):
        TorchStages(CPU).perceive(Given(raw), build_images(card, (101, 67)), OutputConfig())


@pytest.mark.parametrize('mode', [Mode.FUSED, Mode.RGB_ONLY, Mode.THERMAL_ONLY])
def test_the_engine_perceives_what_it_gives_for_a_batch(tmp_path, mode):
    card = build_torch_card(tmp_path)
    engine = TorchEngine(card, torch_config(tmp_path))
    images = build_images(card, (101, 67), mode, HW)
    config = OutputConfig(score_threshold=0.0)
    assert not engine.takes_images  # on the CPU the stages of the CPU are as good
    wanted, found = perceive(engine, images, config), engine.perceive(images, config)
    for name in ('share_map', 'rgb_shares', 'entropies'):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=1e-2)
    np.testing.assert_allclose(found.detections.scores, wanted.detections.scores, atol=1e-2)
    assert (found.label_map == wanted.label_map).mean() > 0.98
    engine.close()


@pytest.mark.parametrize('source_hw', SOURCES[1:4])
def test_detections_have_the_same_say_in_the_label_map_as_on_the_cpu(card, source_hw):
    card = with_common_classes(card)
    raw, images = draw_outputs(0), build_images(card, source_hw)
    engine = FakeEngine(raw)
    label_maps = []
    for weight in (0.0, 4.0):
        config = OutputConfig(score_threshold=0.2, box_votes=weight)
        wanted = perceive(engine, images, config)
        found = TorchStages(CPU).perceive(Given(raw), images, config)
        np.testing.assert_array_equal(found.detections.class_ids, wanted.detections.class_ids)
        assert (found.label_map == wanted.label_map).mean() > 0.999
        label_maps.append(wanted.label_map)
    assert (label_maps[0] != label_maps[1]).any()


def test_an_engine_names_failures_and_leaves_named_ones_as_they_are(tmp_path, monkeypatch):
    card = build_torch_card(tmp_path)
    engine = TorchEngine(card, torch_config(tmp_path))
    images = build_images(card, (101, 67), input_hw=HW)
    images.thermal[0, 0] = np.nan
    with pytest.raises(EngineError, match=r"^output '\w+' of the network has non-finite"):
        engine.perceive(images, OutputConfig())

    def fail(*_):
        raise RuntimeError('CUDA error: unspecified launch failure')

    monkeypatch.setattr(TorchStages, 'prepare', fail)
    with pytest.raises(
        EngineError, match=r'^torch failed on an input of \(64, 80\) px \(CUDA err'
    ):
        engine.perceive(images, OutputConfig())
    engine.close()


class Transfers(TorchDispatchMode):
    """Counts what makes the host wait for the device, or sends it something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in {'nonzero', '_local_scalar_dense', 'lift_fresh', 'nms'}:
            self.names[name] += 1
        masks = args[1] if name == 'index' else ()
        assert not any(mask is not None and mask.dtype == torch.bool for mask in masks)
        return func(*args, **(kwargs or {}))


def count_downloads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets, for every download, how many tensors it took; no other way stays.

    On the CPU a download is a copy like any other, which ``Transfers`` cannot tell.
    """
    download, sizes = torch_stages._download, []

    def count(tensors):
        sizes.append(len(tensors))
        return download(tensors)

    def refuse(*_):
        pytest.fail('this waits for the device once more')

    monkeypatch.setattr(torch_stages, '_download', count)
    for name in ('cpu', 'tolist', 'item'):
        monkeypatch.setattr(torch.Tensor, name, refuse)
    return sizes


@pytest.mark.parametrize('box_votes', [0.0, 3.0])
def test_the_device_is_waited_for_as_rarely_as_can_be(card, monkeypatch, box_votes):
    card = with_common_classes(card)
    stages = TorchStages(CPU)
    config = OutputConfig(score_threshold=0.3, box_votes=box_votes)
    outputs, images = as_tensors(draw_outputs(0)), build_images(card, (101, 67))
    stages.perceive(lambda *_: outputs, images, config)  # uploads what all pairs share
    downloads = count_downloads(monkeypatch)
    with Transfers() as transfers:
        found = stages.perceive(lambda *_: outputs, images, config)
    assert len(found.detections)
    assert len(downloads) == 1
    assert transfers.names == {'nonzero': 1, 'nms': 1}


@contextmanager
def stream_of_its_own(stream):
    yield


@pytest.fixture
def cuda_on_cpu(monkeypatch):
    """All that is done on CUDA, with the network and its stages on the CPU."""
    monkeypatch.setattr('rgbt_perception.engine.torch.find_place', lambda _: CPU)
    monkeypatch.setattr('rgbt_perception.engine.torch.find_package', lambda *_: None)
    monkeypatch.setattr(torch.cuda, 'Stream', lambda device: None)
    monkeypatch.setattr(torch.cuda, 'stream', stream_of_its_own)


@pytest.mark.usefixtures('cuda_on_cpu')
@pytest.mark.parametrize('error', [RuntimeError('CUDA out of memory'), KeyboardInterrupt()])
def test_an_engine_that_cannot_be_opened_frees_its_weights(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    card = build_torch_card(tmp_path)
    model = load_network(card, torch_config(tmp_path))  # stays, as in the traceback of the error
    model.register_forward_hook(fail)
    monkeypatch.setattr('rgbt_perception.engine.torch.load_network', lambda *_: model)
    with pytest.raises((EngineError, KeyboardInterrupt)):
        TorchEngine(card, torch_config(tmp_path, device='cuda:0', cuda_graph=False))
    assert {weight.device.type for weight in model.parameters()} == {'meta'}


@pytest.mark.usefixtures('cuda_on_cpu')
def test_an_engine_on_cuda_has_run_once_when_it_is_open_and_takes_images(tmp_path, monkeypatch):
    card = build_torch_card(tmp_path)
    on_cpu = torch_config(tmp_path)
    model = load_network(card, on_cpu)
    sizes = []
    model.register_forward_hook(lambda model, inputs, outputs: sizes.append(inputs[0].shape[2:]))
    monkeypatch.setattr('rgbt_perception.engine.torch.load_network', lambda *_: model)
    on_cuda = dataclasses.replace(on_cpu, device='cuda:0', cuda_graph=False)
    engine = TorchEngine(card, on_cuda)
    assert set(sizes) == {card.input_hw}
    images, config = build_images(card, (101, 67), input_hw=HW), OutputConfig(score_threshold=0.0)
    wanted = TorchEngine(card, on_cpu).perceive(images, config)
    for _ in range(2):  # nothing is left of the run before
        found = perceive(engine, images, config)
        assert found.preprocess_ms == 0
        np.testing.assert_array_equal(found.detections.scores, wanted.detections.scores)
        np.testing.assert_array_equal(found.label_map, wanted.label_map)
        np.testing.assert_array_equal(found.entropies, wanted.entropies)
    engine.close()


class DeviceEngine(FakeEngine):
    """Engine that prepares and decodes itself, by the torch stages."""

    takes_images = True

    def __init__(self, **values) -> None:
        super().__init__(**values)
        self.images: list[Images] = []

    def perceive(self, images: Images, config: OutputConfig):
        self.images.append(images)
        if self.error is not None:
            raise self.error
        return TorchStages(CPU).perceive(Given(build_outputs(images.input_hw)), images, config)


def test_a_pipeline_gives_the_same_with_an_engine_that_takes_images(tmp_path):
    results = []
    for engine in (FakeEngine(), DeviceEngine()):
        pipeline = Pipeline(card=build_card(tmp_path), engine=engine, config=build_config({}))
        results.append(pipeline.run(build_pair()))
    assert len(engine.images) == 1
    assert not engine.batches
    wanted, found = results
    np.testing.assert_array_equal(found.detections.scores, wanted.detections.scores)
    np.testing.assert_allclose(found.detections.boxes_xyxy, wanted.detections.boxes_xyxy)
    np.testing.assert_array_equal(found.label_map, wanted.label_map)
    assert found.dominance == wanted.dominance
    assert found.times.preprocess_ms > 0
    assert found.times.infer_ms > 0
    assert found.times.postprocess_ms > 0


def run_until_back(pipeline: Pipeline) -> Result:
    results = []

    def has_run() -> bool:
        try:
            results.append(pipeline.run(build_pair()))
        except EngineError:
            return False
        return True

    wait_for(has_run)
    return results[0]


def test_after_a_fallback_the_cpu_prepares_and_decodes(tmp_path):
    device, host = DeviceEngine(), FakeEngine()
    config = dataclasses.replace(QUICK, max_failures=1)
    with engine_factory() as make:
        opener = Opener(torch=[device, EngineError('no device')], onnx=[host])
        engine = make(opener, config)
        pipeline = Pipeline(card=build_card(tmp_path), engine=engine, config=build_config({}))
        wanted = pipeline.run(build_pair())
        assert engine.takes_images
        device.error = EngineError('the device is lost')
        with pytest.raises(EngineError, match='lost'):
            pipeline.run(build_pair())
        found = run_until_back(pipeline)
        assert (engine.backend, engine.takes_images) == ('onnx', False)
    assert len(host.batches) > 1  # after its warm-up
    np.testing.assert_array_equal(found.detections.scores, wanted.detections.scores)
    np.testing.assert_array_equal(found.label_map, wanted.label_map)


def test_images_meant_for_an_engine_that_was_replaced_meanwhile_are_taken_by_the_next(card):
    images, config = build_images(card, (101, 67)), OutputConfig()
    with engine_factory() as make:
        engine = make(Opener(onnx=[FakeEngine()]))
        assert not engine.takes_images
        found = engine.perceive(images, config)
    wanted = perceive(FakeEngine(), images, config)
    np.testing.assert_array_equal(found.detections.boxes_xyxy, wanted.detections.boxes_xyxy)
    np.testing.assert_array_equal(found.label_map, wanted.label_map)
