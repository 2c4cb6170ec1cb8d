# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_graphs import made_feeds, write_graph
from made_models import make_card, small_model
import onnx
import pytest

from rgbt_models import export_variant as module
from rgbt_models.build import ARCHITECTURES
from rgbt_models.card import hash_file, save_card
from rgbt_models.errors import ExportError
from rgbt_models.export_variant import export_variant
from rgbt_models.graph_variant import GraphVariant, VariantRequest
from rgbt_models.label_sets import DETECTION_CLASSES, SEGMENTATION_CLASSES
from rgbt_models.weights import save_weights


@pytest.fixture
def card(tmp_path, monkeypatch):
    """Return a card with weights; the graph is one made by hand, for tracing takes a minute."""
    monkeypatch.setitem(ARCHITECTURES, 'made', lambda **_: small_model())
    folder = tmp_path / 'card'
    folder.mkdir()
    save_weights(small_model(), folder / 'model.safetensors')
    card = make_card(
        architecture='made',
        detection_classes=DETECTION_CLASSES,
        segmentation_classes=SEGMENTATION_CLASSES,
        weights_sha256=hash_file(folder / 'model.safetensors'),
        folder=folder,
    )
    save_card(card)
    return card


@pytest.fixture
def traced(monkeypatch):
    """Return what the exporter was asked for: stacked, share of tokens, operator set, size."""
    asked = []

    def export_graph(model, path, *, opset, input_hw):
        encoder = model.encoder
        asked.append((encoder.use_stacked_batch, encoder.keep_tokens, opset, input_hw))
        write_graph(path)
        return 1.26e-6

    monkeypatch.setattr(module, 'export_graph', export_graph)
    return asked


def refuse():
    raise AssertionError('nothing is calibrated')


@pytest.mark.parametrize(
    ('request_', 'asked'),
    [
        (VariantRequest(precision='fp32', target='onnx'), (False, 1.0, 23)),
        (VariantRequest(precision='fp32', target='openvino'), (False, 1.0, 18)),
        (VariantRequest(precision='fp32', target='tensorrt'), (True, 1.0, 18)),
        (VariantRequest(precision='fp16', target='onnx'), (False, 1.0, 18)),
        (
            VariantRequest(
                precision='fp16', target='tensorrt', opset=17, is_stacked=False, keep_tokens=0.75
            ),
            (False, 0.75, 17),
        ),
    ],
)
def test_a_graph_is_made_as_its_target_likes_it_or_as_asked(
    request_, asked, card, traced, tmp_path
):
    # Merging fixes the size of the input.
    asked = (*asked, card.input_hw if request_.keep_tokens < 1.0 else None)
    variant = export_variant(card, request_, tmp_path, calibrate=refuse)
    assert traced == [asked]
    path = tmp_path / f'model.{request_.precision}.{request_.target}.onnx'
    assert variant == GraphVariant(
        file=path.name,
        sha256=hash_file(path),
        precision=request_.precision,
        target=request_.target,
        is_stacked=asked[0],
        keep_tokens=asked[1],
        opset=asked[2],
        gate={'onnx_parity': 1.3e-6},
    )


def test_an_int8_graph_is_calibrated_after_the_parity_check(card, traced, tmp_path):
    def calibrate():
        assert len(traced) == 1
        return made_feeds()

    request_ = VariantRequest(precision='int8', target='onnx')
    variant = export_variant(card, request_, tmp_path, calibrate=calibrate)
    operators = {node.op_type for node in onnx.load(tmp_path / variant.file).graph.node}
    assert 'QuantizeLinear' in operators


def test_fp16_for_openvino_is_refused_before_any_work(card, traced, tmp_path):
    request_ = VariantRequest(precision='fp16', target='openvino')
    with pytest.raises(ExportError, match=r'expected fp32 or int8; set engine.precision to bf16'):
        export_variant(card, request_, tmp_path, calibrate=refuse)
    assert traced == []
