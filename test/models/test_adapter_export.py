# SPDX-License-Identifier: Apache-2.0
"""An adapted encoder in the exported graph: kept for thermal only, or merged for both."""

from __future__ import annotations

from dataclasses import asdict
import json
from pathlib import Path

from made_models import painted_sample
from made_vits import small_images, trained_adapter
import numpy as np
import onnxruntime
import pytest
import torch

from rgbt_models import export, publish
from rgbt_models.adapters import Adapter, ThermalAdapted
from rgbt_models.build import ARCHITECTURES, load_model, RGBTModel
from rgbt_models.card import INPUT_NAMES, load_card, OUTPUT_NAMES
from rgbt_models.errors import WeightsError
from rgbt_models.export import export_graph
from rgbt_models.label_sets import PACKAGE_LABEL_SET
from rgbt_models.publish import publish_run
from rgbt_models.train.config import TrainConfig
from rgbt_models.vit import ViTEncoder
from rgbt_models.weights import save_weights


def made_model(**classes: int) -> RGBTModel:
    """Build a model on the first block of a small ViT; RGB and thermal in two passes."""
    torch.manual_seed(0)
    encoder = ViTEncoder('vit_tiny_patch16_224', taps=(0,), stride=16)
    encoder.use_stacked_batch = False
    classes = classes or {
        'num_detection_classes': len(PACKAGE_LABEL_SET.detection_classes),
        'num_segmentation_classes': len(PACKAGE_LABEL_SET.segmentation_classes),
    }
    return RGBTModel(encoder=encoder, channels=(16, 24, 32), **classes).eval()


def adapt(model: RGBTModel) -> Adapter:
    """Add an adapter of an update as large as the weights, as after training."""
    adapter = trained_adapter(model.encoder)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.mul_(0.25)
    return adapter


@pytest.fixture(scope='module')
def graphs(tmp_path_factory) -> tuple[Path, Path, float]:
    """Return the graph of the base, that of an adapter kept for thermal, and its error."""
    folder = tmp_path_factory.mktemp('adapted')
    base, kept = made_model(), made_model()
    kept.encoder = ThermalAdapted(adapt(kept))
    export._trace(base, folder / 'base.onnx')  # its parity has its own test
    error = export_graph(kept, folder / 'kept.onnx')
    return folder / 'base.onnx', folder / 'kept.onnx', error


def run(path: Path, available: tuple[float, float]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    images = small_images(size=64), small_images(size=64, seed=1)
    inputs = (*(image.numpy() for image in images), np.float32([available] * 2))
    values = session.run(list(OUTPUT_NAMES), dict(zip(INPUT_NAMES, inputs, strict=True)))
    return dict(zip(OUTPUT_NAMES, values, strict=True))


def test_the_graph_of_a_kept_adapter_reproduces_torch(graphs):
    assert 0.0 < graphs[2] <= 1e-4


def test_rgb_in_the_graph_of_a_kept_adapter_is_the_base_to_the_last_bit(graphs):
    base, kept = (run(path, (1.0, 0.0)) for path in graphs[:2])
    for name in ('class_logits', 'boxes_xyxy', 'segmentation_logits', 'share_map', 'rgb_shares'):
        np.testing.assert_array_equal(kept[name], base[name], err_msg=name)
    np.testing.assert_array_equal(kept['entropies'][:, 0], base['entropies'][:, 0])


def test_thermal_in_the_graph_of_a_kept_adapter_is_adapted(graphs):
    base, kept = (run(path, (0.0, 1.0)) for path in graphs[:2])
    logits = base['class_logits']
    spread = np.abs(logits - logits.mean()).max()
    assert np.abs(kept['class_logits'] - logits).max() > 1e-3 * spread
    assert not np.array_equal(kept['entropies'][:, 1], base['entropies'][:, 1])


@pytest.fixture
def run_dir(tmp_path, monkeypatch) -> Path:
    """Return a run folder without weights; tracing and rendering have their own tests."""
    monkeypatch.setitem(ARCHITECTURES, 'small', made_model)
    monkeypatch.setattr(
        'rgbt_models.calibrate.render_sample',
        lambda seed, *, scale: painted_sample((30 + seed % 40, 20, 60 + seed % 40, 80)),
    )

    def write_graph(_model, path):
        path.write_bytes(b'graph')
        return 1e-6

    monkeypatch.setattr(publish, 'export_graph', write_graph)
    folder = tmp_path / 'run'
    folder.mkdir()
    config = asdict(TrainConfig(architecture='small'))
    run = {'steps': 1, 'seconds': 1.0, 'config': config, **PACKAGE_LABEL_SET.to_json()}
    (folder / 'run.json').write_text(json.dumps(run))
    return folder


@torch.no_grad()
def test_a_merged_adapter_is_published_as_a_plain_model(run_dir, tmp_path):
    adapted = made_model()
    adapter = adapt(adapted)
    rgb, thermal = small_images(size=64), small_images(size=64, seed=1)
    expected = adapted.encoder.features(rgb), adapted.encoder.features(thermal)
    adapter.merge()
    adapter.remove()
    save_weights(adapted, run_dir / 'weights.safetensors')
    publish_run(run_dir=run_dir, card_dir=tmp_path / 'c', version='1', calibration_pairs=4)
    published = load_model(load_card(tmp_path / 'c'))
    for image, maps in zip((rgb, thermal), expected, strict=True):
        found = published.encoder.features(image)[0]
        torch.testing.assert_close(found, maps[0], rtol=1e-4, atol=1e-4)
    base = made_model().encoder.features(rgb)[0]
    assert not torch.allclose(base, expected[0][0], atol=1e-2)  # merged, RGB is adapted too


@pytest.mark.parametrize('is_merged', [False, True])
def test_weights_with_an_adapter_in_them_are_not_published(run_dir, tmp_path, is_merged):
    adapted = made_model()
    adapter = adapt(adapted)
    if is_merged:
        adapter.merge()
    save_weights(adapted, run_dir / 'weights.safetensors')
    with pytest.raises(WeightsError, match='do not fit the model'):
        publish_run(run_dir=run_dir, card_dir=tmp_path / 'c', version='1', calibration_pairs=4)
    assert not (tmp_path / 'c').exists()
