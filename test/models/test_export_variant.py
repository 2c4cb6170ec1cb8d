# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
import sys

from made_graphs import made_feeds, write_graph
from made_models import make_card, small_model
import onnx
import pytest
import torch

from rgbt_models import export_variant as module
from rgbt_models.build import ARCHITECTURES, create_model
from rgbt_models.card import hash_file, save_card
from rgbt_models.errors import CardError, EncoderError, ExportError
from rgbt_models.export_targets import PREDICTORS
from rgbt_models.export_variant import check_request, export_variant, find_fp32_modules
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
        graph = onnx.load(write_graph(path))
        onnx.save(onnx.shape_inference.infer_shapes(graph), path)  # outputs must have a shape
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
                precision='fp16', target='onnx', opset=22, is_stacked=True, keep_tokens=0.75
            ),
            (True, 0.75, 22),
        ),
        (
            VariantRequest(
                precision='fp16', target='tensorrt', opset=17, is_stacked=False, keep_tokens=0.75
            ),
            (False, 0.75, 17),
        ),
    ],
)
def test_a_graph_is_made_as_its_target_likes_it_or_as_asked(
    request_, asked, card, traced, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, 'draw_noise', lambda *_: [])  # of other sizes than the made graph
    # Merging fixes the size of the input.
    asked = (*asked, card.input_hw if request_.keep_tokens < 1.0 else None)
    is_fp32 = request_.precision == 'fp32'
    folder = tmp_path / 'out'
    folder.mkdir()
    variant = export_variant(card, request_, folder, calibrate=refuse if is_fp32 else made_feeds)
    assert traced == [(*asked[:2], max(asked[2], 18), asked[3])]
    (path,) = folder.iterdir()
    kind = f'model.{request_.precision}.{request_.target}'
    assert path.name == f'{kind}.{hash_file(path)[:8]}.onnx'
    if asked[2] == 17:  # lowered afterwards
        assert [item.version for item in onnx.load(path).opset_import] == [17]
    assert variant.gate['onnx_parity'] == 1.3e-6
    assert is_fp32 or 0.0 < variant.gate['largest_fp16_value'] < 100.0
    assert variant == GraphVariant(
        file=path.name,
        sha256=hash_file(path),
        precision=request_.precision,
        target=request_.target,
        is_stacked=asked[0],
        keep_tokens=asked[1],
        opset=asked[2],
        input_hw=asked[3],
        gate=variant.gate,
    )


LOWERED = VariantRequest(precision='fp32', target='tensorrt', opset=17)


@pytest.mark.usefixtures('traced')
def test_the_card_says_the_parity_of_an_fp32_graph_after_it_was_lowered(
    card, tmp_path, monkeypatch
):
    def check_parity(_model, path, input_hw):
        assert [item.version for item in onnx.load(path).opset_import] == [17]
        assert input_hw is None
        return 3.45e-6

    monkeypatch.setattr(module, 'check_parity', check_parity)
    variant = export_variant(card, LOWERED, tmp_path, calibrate=refuse)
    assert variant.gate == {'onnx_parity': 3.5e-6}


@pytest.mark.usefixtures('traced')
def test_a_lowered_graph_that_differs_from_torch_is_not_written(card, tmp_path, monkeypatch):
    monkeypatch.setattr('rgbt_models.export.largest_relative_error', lambda *_: 1.1e-4)
    folder = tmp_path / 'out'
    folder.mkdir()
    with pytest.raises(ExportError, match=r'differs from torch by 1\.1e-04, allowed is 1e-04'):
        export_variant(card, LOWERED, folder, calibrate=refuse)
    assert list(folder.iterdir()) == []


def test_an_int8_graph_is_calibrated_after_the_parity_check(card, traced, tmp_path, monkeypatch):
    def calibrate():
        assert len(traced) == 1
        return made_feeds()

    monkeypatch.setattr(module, 'find_fp32_modules', lambda *_: ['segmentation.classifier'])
    request_ = VariantRequest(precision='int8', target='onnx')
    variant = export_variant(card, request_, tmp_path, calibrate=calibrate)
    operators = {node.op_type for node in onnx.load(tmp_path / variant.file).graph.node}
    assert 'QuantizeLinear' in operators


def test_fp16_for_openvino_is_refused_before_any_work(card, traced, tmp_path):
    request_ = VariantRequest(precision='fp16', target='openvino')
    with pytest.raises(ExportError, match=r'expected fp32 or int8; set engine.precision to bf16'):
        export_variant(card, request_, tmp_path, calibrate=refuse)
    assert traced == []


def test_noise_counts_in_the_range_of_an_fp16_graph(card, traced, tmp_path, monkeypatch):
    def draw_noise(_available, _input_hw):
        return [{name: 1e6 * value for name, value in made_feeds(1)[0].items()}]

    monkeypatch.setattr(module, 'draw_noise', draw_noise)
    request_ = VariantRequest(precision='fp16', target='onnx')
    with pytest.raises(ExportError, match=r"value '.*' of the network reaches .*e\+0"):
        export_variant(card, request_, tmp_path, calibrate=made_feeds)


@pytest.mark.parametrize(
    ('target', 'opset', 'said'),
    [
        ('onnx', 17, 'operator set 17 cannot be made .*; expected 18 to 25; correct --opset'),
        ('onnx', 26, 'expected 18 to 25'),
        ('tensorrt', 16, "for target 'tensorrt'; expected 17 to 18; correct"),
        ('tensorrt', 19, 'expected 17 to 18'),
    ],
)
def test_an_operator_set_that_would_not_work_is_refused_before_any_work(
    target, opset, said, card, traced, tmp_path
):
    request_ = VariantRequest(precision='fp32', target=target, opset=opset)
    with pytest.raises(ExportError, match=said):
        export_variant(card, request_, tmp_path, calibrate=refuse)
    assert traced == []


def test_a_missing_package_is_said_before_any_work(card, traced, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'nncf', None)  # as if not installed
    request_ = VariantRequest(precision='int8', target='openvino')
    with pytest.raises(ExportError, match='made with NNCF'):
        export_variant(card, request_, tmp_path, calibrate=refuse)
    assert traced == []


@pytest.mark.parametrize(
    ('architecture', 'beside'),
    [
        ('tiny', ['encoder.thermal_stem.stride_4.1', *(f'neck.fusions.{i}' for i in range(3))]),
        ('small', ['neck.fusion']),
        ('base', ['neck.fusion']),
    ],
)
def test_every_architecture_has_the_modules_that_stay_in_fp32(architecture, beside):
    with torch.device('meta'):
        model = create_model(architecture, num_detection_classes=2, num_segmentation_classes=3)
    names = {name for name, _ in model.named_modules()}
    assert set(PREDICTORS) <= names
    assert find_fp32_modules(model, 'openvino') == [*PREDICTORS, *beside]
    assert find_fp32_modules(model, 'onnx') == list(PREDICTORS)
    assert set(beside) <= names


def test_no_architecture_is_left_out_above():
    assert set(ARCHITECTURES) == {'tiny', 'small', 'base'}


def test_tokens_that_cannot_be_merged_are_said_without_reading_weights(card):
    card.weights_path.unlink()
    request_ = VariantRequest(precision='fp32', target='onnx', keep_tokens=0.3)
    with pytest.raises(EncoderError, match=r'keep_tokens is 0\.3, expected 0\.5 to 1'):
        check_request(card, request_)
    check_request(card, replace(request_, keep_tokens=0.75))


def test_a_published_model_is_refused_before_any_work(card, traced, tmp_path):
    card = replace(card, architecture='vit_upernet')
    request_ = VariantRequest(precision='int8', target='onnx')
    with pytest.raises(CardError, match=r'published model \(vit_upernet\), of which no graph'):
        export_variant(card, request_, tmp_path, calibrate=refuse)
    assert traced == []


@pytest.mark.parametrize(
    ('precision', 'keep_tokens', 'is_gated'),
    [('fp32', 1.0, False), ('fp32', 0.99, True), ('fp16', 1.0, True), ('int8', 0.75, True)],
)
def test_all_but_an_fp32_graph_with_all_tokens_is_gated(precision, keep_tokens, is_gated):
    request_ = VariantRequest(precision=precision, target='onnx', keep_tokens=keep_tokens)
    assert request_.is_gated is is_gated
