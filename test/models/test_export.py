# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_models import small_model
import numpy as np
import onnx
from onnx import numpy_helper
import onnxruntime
import pytest
import torch

from rgbt_models import export
from rgbt_models.card import INPUT_NAMES, OUTPUT_NAMES
from rgbt_models.errors import ExportError
from rgbt_models.export import (
    check_parity,
    export_graph,
    largest_relative_error,
    relative_error,
)
from rgbt_models.export_opset import lower_to_opset_17
from rgbt_models.token_merging import set_keep_tokens


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """Model, graph file and the error of its parity check: one export for all tests."""
    model = small_model()
    path = tmp_path_factory.mktemp('export') / 'model.onnx'
    return model, path, export_graph(model, path)


def open_graph(path):
    return onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])


def test_the_graph_reproduces_torch(exported):
    _, path, error = exported
    assert 0.0 < error <= 1e-4
    assert [file.name for file in path.parent.iterdir()] == ['model.onnx']  # no external data


def test_inputs_and_outputs_are_named_and_of_free_size(exported):
    session = open_graph(exported[1])
    assert tuple(node.name for node in session.get_inputs()) == INPUT_NAMES
    assert tuple(node.name for node in session.get_outputs()) == OUTPUT_NAMES
    rgb, thermal, available = (node.shape for node in session.get_inputs())
    assert rgb[1] == thermal[1] == 3
    assert available[1] == 2
    free = (rgb[0], rgb[2], rgb[3], thermal[0], thermal[2], thermal[3], available[0])
    assert all(isinstance(side, str) for side in free)


def test_no_plugins_and_opset_18(exported):
    graph = onnx.load(exported[1])
    domains = {node.domain for node in graph.graph.node}
    assert domains <= {'', 'ai.onnx'}
    assert {entry.version for entry in graph.opset_import if entry.domain in domains} == {18}
    control_flow = {'If', 'Loop', 'Scan'}
    assert not control_flow & {node.op_type for node in graph.graph.node}


def test_onnx_runtime_computes_each_gelu_in_one_step(exported, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / 'optimised.onnx')
    onnxruntime.InferenceSession(exported[1], options, providers=['CPUExecutionProvider'])
    operators = [
        [node.op_type for node in onnx.load(path).graph.node]
        for path in (exported[1], tmp_path / 'optimised.onnx')
    ]
    assert 'Erf' in operators[0]
    assert 'Erf' not in operators[1]


@pytest.mark.parametrize('size_hw', [(64, 160), (160, 64), (48, 208), (16, 16)])
def test_a_batch_of_an_odd_size_gives_what_torch_gives(exported, size_hw):
    model, path, _ = exported
    generator = torch.Generator().manual_seed(5)
    rgb, thermal = torch.randn(2, 3, 3, *size_hw, generator=generator)
    available = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    feeds = dict(zip(INPUT_NAMES, (t.numpy() for t in (rgb, thermal, available)), strict=True))
    actual = open_graph(path).run(list(OUTPUT_NAMES), feeds)
    with torch.no_grad():
        expected = model(rgb, thermal, available)
    for name, value in zip(OUTPUT_NAMES, actual, strict=True):
        assert relative_error(value, expected[name].numpy()) < 1e-4, name


def test_the_graph_reads_both_images_and_ignores_a_broken_absent_one(exported):
    _, path, _ = exported
    session = open_graph(path)
    rng = np.random.default_rng(0)
    rgb, thermal = rng.standard_normal((2, 1, 3, 32, 48)).astype(np.float32)
    broken = np.full_like(rgb, np.nan)

    def logits(*images, available):
        feeds = dict(zip(INPUT_NAMES, (*images, np.float32([available])), strict=True))
        return session.run(['class_logits'], feeds)[0]

    both = logits(rgb, thermal, available=(1, 1))
    assert not np.allclose(both, logits(thermal, rgb, available=(1, 1)), atol=1e-4)
    np.testing.assert_allclose(
        logits(rgb, broken, available=(1, 0)), logits(rgb, thermal, available=(1, 0)), atol=1e-6
    )
    np.testing.assert_allclose(
        logits(broken, thermal, available=(0, 1)),
        logits(rgb, thermal, available=(0, 1)),
        atol=1e-6,
    )


def tamper(path, out_path):
    """Write the graph with the class weights of the finest level scaled by 1.01."""
    graph = onnx.load(path)
    weight = next(
        item for item in graph.graph.initializer if item.name.endswith('classifiers.0.weight')
    )
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.01, weight.name))
    onnx.save(graph, out_path)


def test_a_lowered_graph_reproduces_torch_and_a_tampered_one_is_refused(exported, tmp_path):
    model, path, _ = exported
    lowered = tmp_path / 'lowered.onnx'
    lower_to_opset_17(path, lowered)
    assert 0.0 < check_parity(model, lowered) <= 1e-4
    tamper(lowered, lowered)
    with pytest.raises(ExportError, match='differs from torch by'):
        check_parity(model, lowered)


def test_a_tampered_graph_is_seen(exported, tmp_path):
    model, path, _ = exported
    tamper(path, tmp_path / 'other.onnx')
    assert largest_relative_error(model, tmp_path / 'other.onnx') > 1e-4


def test_a_graph_that_differs_is_not_written(exported, tmp_path, monkeypatch):
    model, path, _ = exported
    monkeypatch.setattr(export, '_trace', lambda _model, draft, *_others: tamper(path, draft))
    target = tmp_path / 'model.onnx'
    with pytest.raises(ExportError, match=r'differs from torch by .*, allowed is 1e-04; do not'):
        export_graph(model, target)
    assert not target.exists()


def test_a_graph_of_nan_is_not_written(exported, tmp_path, monkeypatch):
    path = exported[1]
    monkeypatch.setattr(
        export, '_trace', lambda _model, draft, *_others: draft.write_bytes(path.read_bytes())
    )
    broken = small_model()
    torch.nn.init.constant_(broken.segmentation.classifier.bias, float('nan'))
    with pytest.raises(ExportError, match='differs from torch by inf'):
        export_graph(broken, tmp_path / 'model.onnx')


@pytest.mark.parametrize(
    ('actual', 'expected', 'error'),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 3.0], [1.0, 4.0], 0.25),
        ([1.0, -3.0], [2.0, -4.0], 0.25),  # relative to the largest, not to its own
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([1.0, 1.0], [np.nan, 1.0], np.inf),
        ([np.inf, 1.0], [np.inf, 1.0], np.inf),
        ([1.0], [1.0, 1.0], np.inf),
    ],
)
def test_relative_error_literals(actual, expected, error):
    assert relative_error(np.float32(actual), np.float32(expected)) == error


def test_a_graph_with_merged_tokens_reproduces_torch_at_its_size(tmp_path):
    model, path, input_hw = small_model(depth=2), tmp_path / 'model.onnx', (64, 96)
    set_keep_tokens(model.encoder, 0.75)
    assert export_graph(model, path, input_hw=input_hw) <= 1e-4
    shapes = [item.shape for item in open_graph(path).get_inputs()]
    assert [shape[2:] for shape in shapes[:2]] == [list(input_hw), list(input_hw)]
    assert largest_relative_error(model, path, input_hw) <= 1e-4
    with torch.no_grad():  # what stands for thermal where it is absent, and only there
        model.neck.fusions[0].thermal_mean.add_(1.0)
    assert largest_relative_error(model, path, input_hw) > 1e-3
    with torch.no_grad():
        model.neck.fusions[0].thermal_mean.sub_(1.0)
    set_keep_tokens(model.encoder, 1.0)
    assert largest_relative_error(model, path, input_hw) > 1e-3


def test_of_merged_tokens_one_odd_draw_in_five_is_let_pass_in_each_mode(tmp_path, monkeypatch):
    errors = iter([1.0, 1.0, 1e-6, 1e-6, 1e-6] * 2 + [1.0, 1.0, 1.0, 1e-6, 1e-6])
    monkeypatch.setattr(export, '_Session', lambda _path: None)
    monkeypatch.setattr(export, '_difference', lambda *_: next(errors))
    assert largest_relative_error(small_model(), tmp_path, (16, 16)) == 1.0
    assert next(errors, None) is None


def test_a_model_that_cannot_be_traced_is_one_sentence(tmp_path, monkeypatch):
    def refuse(*_args, **_settings):
        raise TypeError('no such operator\nat line 7')

    monkeypatch.setattr(torch.onnx, 'export', refuse)
    said = (
        r'^the model cannot be traced in operator set 18 \(TypeError no such operator\); expected'
    )
    with pytest.raises(ExportError, match=said) as error:
        export_graph(small_model(), tmp_path / 'model.onnx')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('is_graph', 'said'), [(False, 'cannot open'), (True, 'cannot run')])
def test_a_graph_that_the_runtime_refuses_is_one_sentence(
    is_graph, said, exported, tmp_path, monkeypatch
):
    def trace(_model, draft, *_others):
        draft.write_bytes(exported[1].read_bytes() if is_graph else b'no graph')

    monkeypatch.setattr(export, '_trace', trace)
    monkeypatch.setattr(export, '_PARITY_SHAPES', ((1, 8, 8),))  # too small for the network
    model = torch.nn.Identity() if is_graph else small_model()
    model.forward = lambda *_: None
    with pytest.raises(ExportError, match=f'ONNX Runtime {said} .*choose another operator set'):
        export_graph(model, tmp_path / 'model.onnx')
    assert list(tmp_path.iterdir()) == []
