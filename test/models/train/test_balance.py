# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy

from made_models import NUM_SEGMENTATION_CLASSES, random_painted_samples, small_model
import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional

from rgbt_models import export
from rgbt_models.errors import DatasetError
from rgbt_models.train.balance import BalanceConfig, Balancer, evaluating
from rgbt_models.train.batches import collate
from rgbt_models.train.config import TrainConfig
from rgbt_models.train.losses import compute_losses

WEIGHTS = torch.ones(NUM_SEGMENTATION_CLASSES)
BOTH = torch.ones(2, 2)


@pytest.fixture
def batch():
    return collate(random_painted_samples(2, seed=5), TrainConfig())


def build(config=None, *, seed=0):
    """A model in training mode and its balancer, random but repeatable."""
    model = small_model(seed=seed).train()
    torch.manual_seed(seed + 1)
    return model, Balancer(model, config or BalanceConfig())


def run(model, batch, available=BOTH):
    torch.manual_seed(9)  # the encoder shifts its positions at random in training
    return model(batch.rgb, batch.thermal, available)


def main_loss(outputs, batch):
    return compute_losses(outputs, batch.targets, batch.label_maps, WEIGHTS).total


def set_amounts(balancer, rgb, thermal):
    balancer.amounts.copy_(torch.tensor([rgb, thermal]))


def take_step(model, balancer, batch, progress, available=BOTH):
    balancer.begin_batch(progress)
    loss = main_loss(run(model, batch, available), batch)
    extra = balancer.extra_losses()
    (loss + sum(extra.values())).backward()
    balancer.end_batch()
    balancer.end_step()
    return extra


def test_inverse_weights_favour_the_weaker_camera_and_follow_the_schedule():
    _, balancer = build(BalanceConfig(start=0.1, full=0.3, anneal=0.6, end=0.8))
    set_amounts(balancer, 0.75, 0.25)  # inverse: 1/.75 to 1/.25 = 1/4 to 3/4
    at = {p: balancer.weights_at(p) for p in (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 1.0)}
    rgb = {p: weights[0] for p, weights in at.items()}
    expected = {0.0: 0.5, 0.1: 0.5, 0.2: 0.375, 0.3: 0.25, 0.5: 0.25, 0.7: 0.375, 0.8: 0.5}
    assert rgb == pytest.approx({**expected, 1.0: 0.5})
    assert all(sum(weights) == pytest.approx(1.0) for weights in at.values())


@pytest.mark.parametrize(('rgb', 'expected'), [(0.999, 0.1), (0.001, 0.9), (0.0, 0.9)])
def test_inverse_weights_are_clipped(rgb, expected):
    _, balancer = build()
    set_amounts(balancer, rgb, 1.0 - rgb)
    assert balancer.weights_at(0.5)[0] == pytest.approx(expected)


def test_inverse_weights_can_be_switched_off():
    _, balancer = build(BalanceConfig(use_inverse_weights=False))
    set_amounts(balancer, 0.9, 0.1)
    assert balancer.weights_at(0.5) == (0.5, 0.5)


def test_weighing_is_that_of_the_features_by_twice_the_weight():
    model, balancer = build()
    set_amounts(balancer, 0.75, 0.25)
    fusion = model.neck.fusions[1]
    fusion.norm.eval()  # batch statistics would divide the weight out again
    channels = fusion.rgb_weight.in_channels
    rgb, thermal = torch.randn(2, 2, channels, 4, 5, generator=torch.Generator().manual_seed(0))
    balancer.begin_batch(0.5)
    weighed = fusion(rgb, thermal, BOTH)[0]
    balancer.detach()
    expected = fusion(0.5 * rgb, 1.5 * thermal, BOTH)[0]  # 2 * .25 and 2 * .75
    torch.testing.assert_close(weighed, expected)


def test_samples_with_one_camera_are_not_weighed():
    model, balancer = build()
    set_amounts(balancer, 0.9, 0.1)
    available = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    fusion = model.neck.fusions[0]
    fusion.norm.eval()
    channels = fusion.rgb_weight.in_channels
    rgb, thermal = torch.randn(2, 2, channels, 4, 5, generator=torch.Generator().manual_seed(0))
    balancer.begin_batch(0.5)
    weighed = fusion(rgb, thermal, available)[0]
    balancer.detach()
    fusion.eval()
    plain = fusion(rgb, thermal, available)[0]
    assert not torch.allclose(weighed[0], plain[0], atol=1e-3)
    torch.testing.assert_close(weighed[1], plain[1], atol=1e-2, rtol=0)  # its mean token moved


def test_before_the_start_nothing_is_added_and_the_pass_is_the_plain_one(batch):
    plain = small_model().train()
    expected = run(plain, batch)
    model, balancer = build()
    set_amounts(balancer, 0.9, 0.1)
    balancer.begin_batch(0.05)
    outputs = run(model, batch)
    assert balancer.extra_losses() == {}
    for name, value in outputs.items():
        assert torch.equal(value, expected[name]), name


def test_the_main_gradient_is_that_of_a_plain_model_while_the_weights_are_plain(batch):
    plain = small_model().train()
    main_loss(run(plain, batch), batch).backward()
    model, balancer = build()
    balancer.begin_batch(0.05)
    main_loss(run(model, batch), batch).backward()
    for (name, parameter), other in zip(model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, msg=name)


def test_evaluation_is_that_of_a_plain_model_at_any_time(batch):
    model, balancer = build()
    set_amounts(balancer, 0.9, 0.1)
    balancer.begin_batch(0.5)
    with torch.no_grad():
        outputs = run(model.eval(), batch)
        expected = run(small_model(), batch)
    for name, value in outputs.items():
        assert torch.equal(value, expected[name]), name


def test_state_dict_and_exported_graph_are_those_of_a_plain_model(batch, tmp_path):
    model, balancer = build()
    assert list(model.state_dict()) == list(small_model().state_dict())
    set_amounts(balancer, 0.8, 0.2)
    take_step(model, balancer, batch, 0.5)
    plain = small_model()
    plain.load_state_dict(model.state_dict())
    graphs = {}
    for name, exported in {'watched': model.eval(), 'plain': plain}.items():
        path = tmp_path / f'{name}.onnx'
        export._trace(exported, path)
        graph = onnx.load(path).graph
        graphs[name] = [(node.op_type, list(node.input), list(node.output)) for node in graph.node]
        graphs[f'{name} weights'] = [item.SerializeToString() for item in graph.initializer]
    assert graphs['watched'] == graphs['plain']
    assert graphs['watched weights'] == graphs['plain weights']


def test_a_copy_of_the_model_is_not_watched(batch):
    model, balancer = build()
    average = copy.deepcopy(model)
    set_amounts(balancer, 0.9, 0.1)
    balancer.begin_batch(0.5)
    run(average, batch)
    with pytest.raises(DatasetError, match='has seen 0 of 3 fusion levels'):
        balancer.extra_losses()


def test_low_level_loss_is_the_closed_form(batch):
    config = BalanceConfig(mapping=0.3, reprojection=0.7, distillation=0.0, equilibrium=0.0)
    model, balancer = build(config)
    with torch.no_grad():  # maps: twice, and thrice, the features
        for layer, factor in ((balancer.rgb_to_thermal, 2.0), (balancer.thermal_to_rgb, 3.0)):
            layer.weight.copy_(factor * torch.eye(len(layer.weight))[..., None, None])
            layer.bias.zero_()
    seen = []
    model.neck.register_forward_pre_hook(lambda module, args: seen.append(args[0][0]))
    balancer.begin_batch(0.5)
    run(model, batch)
    (rgb, thermal), extra = seen[0], balancer.extra_losses()
    mapping = functional.mse_loss(2 * rgb, thermal) + functional.mse_loss(3 * thermal, rgb)
    returned = functional.mse_loss(6 * rgb, rgb) + functional.mse_loss(6 * thermal, thermal)
    assert set(extra) == {'hcg_low'}
    torch.testing.assert_close(extra['hcg_low'], 0.3 * mapping + 0.7 * returned)


def test_terms_count_samples_with_both_cameras_only(batch):
    config = BalanceConfig(distillation=0.0, equilibrium=0.0)
    model, balancer = build(config)
    balancer.begin_batch(0.5)
    run(model, batch, torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert balancer.extra_losses()['hcg_low'].item() == 0.0


def test_the_dominant_camera_teaches_the_weak_one(batch):
    config = BalanceConfig(mapping=0.0, reprojection=0.0, equilibrium=0.0)
    for rgb_amount, weak, strong in ((0.8, 'thermal', 'rgb'), (0.2, 'rgb', 'thermal')):
        model, balancer = build(config)
        set_amounts(balancer, rgb_amount, 1.0 - rgb_amount)
        balancer.begin_batch(0.5)
        run(model, batch)
        balancer.extra_losses()['hcg_high'].backward()
        stems = {'rgb': model.encoder.rgb_stem, 'thermal': model.encoder.thermal_stem}
        gradients = {
            name: sum(float(p.grad.abs().sum()) for p in stem.parameters() if p.grad is not None)
            for name, stem in stems.items()
        }
        assert gradients[weak] > 0.0
        assert gradients[strong] == 0.0


@pytest.mark.parametrize(
    ('head', 'other'), [('detection', 'segmentation'), ('segmentation', 'detection')]
)
def test_a_head_that_is_not_trained_is_not_distilled(batch, head, other):
    config = BalanceConfig(mapping=0, reprojection=0, equilibrium=0)
    model = small_model().train()
    balancer = Balancer(model, config, heads=(head,))
    set_amounts(balancer, 0.6, 0.4)
    balancer.begin_batch(0.5)
    run(model, batch)
    balancer.extra_losses()['hcg_high'].backward()
    assert any(p.grad is not None for p in getattr(model, head).parameters())
    assert all(p.grad is None for p in getattr(model, other).parameters())


def test_distillation_leaves_the_running_statistics_alone(batch):
    states = []
    for gamma in (0.0, 0.5):
        config = BalanceConfig(mapping=0, reprojection=0, equilibrium=0, distillation=gamma)
        model, balancer = build(config)
        set_amounts(balancer, 0.6, 0.4)
        balancer.begin_batch(0.5)
        run(model, batch)
        assert set(balancer.extra_losses()) == ({'hcg_high'} if gamma else set())
        states.append({name: value.clone() for name, value in model.named_buffers()})
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_equilibrium_is_the_mean_squared_dominance_of_the_plain_fusion(batch):
    config = BalanceConfig(mapping=0, reprojection=0, distillation=0, equilibrium=0.25)
    model, balancer = build(config)
    plain_shares = run(small_model().train(), batch)['rgb_shares']
    expected = 0.25 * ((2 * plain_shares.clamp(0, 1) - 1).mean(dim=1) ** 2).mean()
    set_amounts(balancer, 0.5, 0.5)
    balancer.begin_batch(0.5)
    run(model, batch)
    assert balancer.extra_losses()['aer'].item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_running_dominance_is_gradient_times_input_of_the_main_loss(batch):
    plain = small_model().train()
    torch.manual_seed(9)
    # Each level as the fusion sees it: finer features also feed coarser ones in the encoder.
    features = [
        tuple(tensor.detach().requires_grad_() for tensor in pair)
        for pair in plain.encoder(batch.rgb, batch.thermal)
    ]
    loss = main_loss(plain.decode(features, BOTH), batch)
    shares = []
    for rgb, thermal in features:
        gradients = torch.autograd.grad(loss, (rgb, thermal), retain_graph=True)
        amounts = [(f * g).abs().sum() for f, g in zip((rgb, thermal), gradients, strict=True)]
        shares.append(amounts[0] / (amounts[0] + amounts[1]))
    expected = 0.5 + 0.1 * (torch.stack(shares).mean() - 0.5)
    model, balancer = build(BalanceConfig(equilibrium=10.0))
    take_step(model, balancer, batch, 0.15)  # the terms of the balancer do not count
    assert balancer.amounts[0].item() == pytest.approx(expected.item(), abs=1e-6)
    assert balancer.amounts.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert balancer.mdi == pytest.approx(2 * expected.item() - 1, abs=1e-5)


def test_samples_with_one_camera_do_not_move_the_dominance(batch):
    model, balancer = build()
    take_step(model, balancer, batch, 0.5, torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    assert balancer.amounts.tolist() == [0.5, 0.5]


def test_a_run_with_all_terms_trains_both_and_can_be_resumed(batch):
    def start():
        model, balancer = build()
        parameters = [*model.parameters(), *balancer.parameters()]
        return model, balancer, torch.optim.AdamW(parameters, lr=1e-3)

    def advance(model, balancer, optimiser, progress):
        extra = take_step(model, balancer, batch, progress)
        optimiser.step()
        optimiser.zero_grad()
        return extra

    one = start()
    for progress in (0.2, 0.3, 0.4):
        last = advance(*one, progress)
    assert set(last) == {'hcg_low', 'hcg_high', 'aer'}
    other = start()
    for progress in (0.2, 0.3):
        advance(*other, progress)
    resumed = start()
    for fresh, old in zip(resumed, other, strict=True):
        fresh.load_state_dict(old.state_dict())
    advance(*resumed, 0.4)
    for fresh, whole in zip(resumed[:2], one[:2], strict=True):
        for name, value in whole.state_dict().items():
            assert torch.equal(fresh.state_dict()[name], value), name


def test_mapping_losses_fall_when_the_maps_are_trained(batch):
    model, balancer = build(BalanceConfig(distillation=0.0, equilibrium=0.0))
    optimiser = torch.optim.Adam(balancer.parameters(), lr=0.05)
    found = []
    for _ in range(12):
        extra = take_step(model, balancer, batch, 0.5)
        optimiser.step()
        optimiser.zero_grad()
        found.append(extra['hcg_low'].item())
    assert found[-1] < 0.6 * found[0]
    assert np.isfinite(found).all()


def test_bfloat16_passes_can_be_balanced(batch):
    model, balancer = build()
    set_amounts(balancer, 0.7, 0.3)
    balancer.begin_batch(0.5)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        outputs = run(model, batch)
    outputs = {name: value.float() for name, value in outputs.items()}
    extra = balancer.extra_losses()
    (main_loss(outputs, batch) + sum(extra.values())).backward()
    balancer.end_batch()
    balancer.end_step()
    assert set(extra) == {'hcg_low', 'hcg_high', 'aer'}
    assert all(value.isfinite() for value in extra.values())
    assert balancer.amounts.isfinite().all()


def test_a_frozen_encoder_can_be_balanced(batch):
    model, balancer = build()
    model.encoder.requires_grad_(requires_grad=False)
    set_amounts(balancer, 0.7, 0.3)
    take_step(model, balancer, batch, 0.5)
    assert balancer.amounts[0].item() != pytest.approx(0.7, abs=1e-6)


def test_evaluating_restores_each_module():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm2d(2)))
    model.train()
    model[0].eval()
    with evaluating(model):
        assert not any(module.training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, False, True, True]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'start': 0.4}, r'schedule is \(0.4, 0.3, 0.6, 0.9\); expected 0 <= start < full'),
        ({'end': 1.2}, 'schedule'),
        ({'mapping': -1.0}, 'expected weights >= 0 and a temperature > 0'),
        ({'temperature': 0.0}, 'the temperature 0.0'),
        ({'min_weight': 0.5}, r'are 0.5, 0.0 and 0.9; expected \(0, 0.5\)'),
        ({'delta': 1.5}, 'min_weight, delta and decay'),
        ({'decay': 1.0}, 'min_weight, delta and decay'),
        ({'low_level': -1}, 'low_level is -1; expected 0 or more'),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(DatasetError, match=message):
        BalanceConfig(**changes)


def test_a_model_without_fusion_layers_cannot_be_balanced():
    with pytest.raises(DatasetError, match='low_level is 0 and the model has 0 fusion levels'):
        Balancer(nn.Linear(2, 2), BalanceConfig())


def test_a_step_without_a_pass_is_refused():
    _, balancer = build()
    balancer.begin_batch(0.5)
    with pytest.raises(DatasetError, match=r'has seen 0 of 3 .* call begin_batch, then run'):
        balancer.extra_losses()
