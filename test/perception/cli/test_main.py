# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path
import re
import sys

from fakes import build_onnx_card
from made_data import write_bag, write_dataset
import pytest

from rgbt_perception.bag import BagReader
from rgbt_perception.cli.main import build_parser, COMMANDS, main
from rgbt_perception.cli.progress import mdi_bar, progress_text
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.demo import Progress
from rgbt_perception.errors import BagError


@pytest.fixture
def model(tmp_path):
    return str(build_onnx_card(tmp_path / 'card').folder)


def options_of(action):
    return {name for parser in action.choices.values() for name in parser._option_string_actions}


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main(['--help'])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(f'\n  {name} ' in text for name in COMMANDS)


@pytest.mark.parametrize('name', COMMANDS)
def test_every_command_has_help_and_a_debug_option(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, '--help'])
    assert caught.value.code == 0
    assert '--debug' in capsys.readouterr().out


def test_error_is_one_line_and_status_2(tmp_path, capsys):
    status = main(['replay', str(tmp_path / 'none'), '--out', str(tmp_path / 'out')])
    assert status == 2
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.startswith("rgbt replay: there is no bag at '")
    assert captured.err.count('\n') == 1


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(BagError):
        main(['replay', '--debug', str(tmp_path / 'none'), '--out', str(tmp_path / 'out')])


def test_unknown_parameter_is_refused_with_a_suggestion(tmp_path, capsys):
    params = tmp_path / 'p.yaml'
    params.write_text('perception: {ros__parameters: {sync: {max_skew: 0.1}}}')
    bag = write_bag(tmp_path / 'bag')
    status = main(
        ['replay', str(bag), '--out', str(tmp_path / 'out'), '--params-file', str(params)]
    )
    assert status == 2
    assert "did you mean 'sync.max_skew_s'?" in capsys.readouterr().err


def test_interrupt_gives_status_130(monkeypatch, tmp_path, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr('rgbt_perception.cli.convert.run', interrupt)
    assert main(['convert', 'pairs', str(tmp_path), '--out', 'bag']) == 130
    assert capsys.readouterr().err == 'rgbt convert: interrupted\n'


def test_replay_writes_results_and_says_what_came_out(tmp_path, capsys, model):
    bag = write_bag(tmp_path / 'bag', num_instants=5, without_thermal=(3,))
    assert main(['replay', str(bag), '--out', str(tmp_path / 'out'), '--model', model]) == 0
    text = capsys.readouterr().out
    assert text.startswith('5 results (4 fused, 1 rgb_only), 5 detections, dropped frames: none')
    assert len((tmp_path / 'out/results.jsonl').read_text().splitlines()) == 5


def test_replay_takes_topics_and_parameters(tmp_path, capsys, model):
    bag = write_bag(tmp_path / 'bag')
    arguments = ['replay', str(bag), '--out', str(tmp_path / 'out'), '--model', model]
    assert main([*arguments, '--rgb-topic', '/left']) == 2
    assert "no images on '/left'" in capsys.readouterr().err
    params = tmp_path / 'p.yaml'
    params.write_text('perception: {ros__parameters: {output: {score_threshold: 0.95}}}')
    assert main([*arguments, '--params-file', str(params)]) == 0
    assert ' 0 detections' in capsys.readouterr().out


def test_evaluate_prints_a_table_and_writes_the_metrics(tmp_path, capsys, model):
    folder = write_dataset(tmp_path / 'pairs')
    arguments = ['evaluate', str(folder), '--out', str(tmp_path / 'out'), '--model', model]
    assert main([*arguments, '--scale', '1.0', '--overlays', '1']) == 0
    text = capsys.readouterr().out
    assert re.search(r'person (│ +\d\.\d{3} ){3}', text), text
    assert 'classes the model lacks, left out: cyclist' in text
    metrics = json.loads((tmp_path / 'out/metrics.json').read_text())
    assert metrics['pairs'] == 3
    assert metrics['conditions']['scale'] == 1.0
    assert metrics['conditions']['input_hw'] == [[48, 64]]
    assert len(list((tmp_path / 'out/overlays').iterdir())) == 1


def test_evaluate_at_several_scales_writes_their_mean_and_its_interval(tmp_path, capsys, model):
    folder, out = write_dataset(tmp_path / 'pairs'), tmp_path / 'out'
    arguments = ['evaluate', str(folder), '--out', str(out), '--model', model]
    assert main([*arguments, '--scale', '0.5', '1.0']) == 0
    assert 'bootstrap interval' in capsys.readouterr().out
    summary = json.loads((out / 'scales.json').read_text())
    assert summary['scales'] == [0.5, 1.0]
    for scale, value in zip(('0.5', '1'), summary['fused']['person']['by_scale'], strict=True):
        metrics = json.loads((out / f'scale_{scale}/metrics.json').read_text())
        assert metrics['fused']['AP50']['person'] == pytest.approx(value, abs=1e-4)


def test_convert_then_evaluate_gives_the_same_as_the_folder(tmp_path, capsys, model):
    folder = write_dataset(tmp_path / 'pairs')
    assert main(['convert', 'pairs', str(folder), '--out', str(tmp_path / 'bag')]) == 0
    assert '3 pairs written' in capsys.readouterr().out
    for name, source in (('a', folder), ('b', tmp_path / 'bag')):
        out = str(tmp_path / name)
        assert main(['evaluate', str(source), '--out', out, '--model', model]) == 0
    first, second = ((tmp_path / name / 'metrics.json').read_bytes() for name in ('a', 'b'))
    assert first == second


@pytest.mark.parametrize('value', ['0', '-1', 'inf', 'nan', 'large'])
def test_scale_must_be_a_number_above_zero(value, capsys):
    with pytest.raises(SystemExit) as caught:
        main(['evaluate', 'x', '--out', 'y', '--scale', value])
    assert caught.value.code == 2
    assert '--scale' in capsys.readouterr().err


def test_simulate_writes_a_drive_and_a_data_set(tmp_path, capsys):
    out = tmp_path / 'drive'
    small = ['--scale', '0.1', '--seed', '2', '--out']
    assert main(['simulate', 'drive', '--duration', '0.4', *small, str(out)]) == 0
    assert '2 instants written' in capsys.readouterr().out
    assert (out / 'rig.param.yaml').is_file()
    assert main(['simulate', 'dataset', '--pairs', '1', *small, str(tmp_path / 'set')]) == 0
    assert (tmp_path / 'set/annotations.json').is_file()


def test_simulate_writes_any_scenario_as_a_bag_or_as_pairs(tmp_path, capsys):
    scenario = tmp_path / 'mine.yaml'
    scenario.write_text('layout: path\nduration_s: 0.4\nrig: {scale: 0.1}\n', encoding='utf-8')
    assert main(['simulate', str(scenario), '--out', str(tmp_path / 'bag')]) == 0
    assert '2 instants written' in capsys.readouterr().out
    small = ['--duration', '0.4', '--scale', '0.1', '--as', 'dataset', '--out']
    assert main(['simulate', 'crossover', *small, str(tmp_path / 'set')]) == 0
    assert len(list((tmp_path / 'set/rgb').iterdir())) == 2


def test_simulate_writes_pairs_with_all_truth_when_asked(tmp_path):
    out = tmp_path / 'set'
    options = ['--full-truth', '--grey-thermal', '--drawn-sensors', '--scale', '0.1']
    assert main(['simulate', 'dataset', '--pairs', '2', *options, '--out', str(out)]) == 0
    assert {path.name for path in out.iterdir() if path.is_dir()} == {
        *('rgb', 'thermal', 'label_map', 'instance_map', 'depth', 'temperature'),
        'thermal_grey',
    }
    content = json.loads((out / 'annotations.json').read_text('utf-8'))
    assert content['info']['rgb_noise'] is None  # drawn for each pair
    bag, length = tmp_path / 'bag', ['--duration', '0.2', '--scale', '0.1']
    assert main(['simulate', 'day_drive', '--full-truth', *length, '--out', str(bag)]) == 0
    with BagReader(bag) as reader:
        assert len(list(reader.messages('/ground_truth/depth'))) == 2


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['fgo'], "there is no scenario 'fgo'; .*did you mean 'fog'"),
        (['fog', '--pairs', '3'], "--pairs means nothing for scenario 'fog'"),
        (['fog', '--pairs', '0'], "--pairs means nothing for scenario 'fog'"),
        (['fog', '--grey-thermal'], "--grey-thermal means nothing for scenario 'fog'"),
        (['dataset', '--no-failures'], '--no-failures means nothing for single pairs'),
        (['dataset', '--rate', '3'], '--rate means nothing for single pairs'),
        (['dataset', '--as', 'bag'], '--as bag means nothing for single pairs'),
        (['fog', '--as', 'dataset', '--camera-info'], '--camera-info .* means nothing'),
        (['dataset', '--condition', 'snow'], "condition is 'snow', expected one of day, dusk"),
    ],
)
def test_simulate_refuses_what_it_would_not_use(arguments, sentence, tmp_path, capsys):
    assert main(['simulate', *arguments, '--out', str(tmp_path / 'out')]) == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_the_help_of_simulate_names_the_shipped_scenarios(capsys):
    with pytest.raises(SystemExit):
        main(['simulate', '--help'])
    text = capsys.readouterr().out
    for path in (Path(__file__).parents[3] / 'config/scenarios').glob('*.yaml'):
        assert path.stem in text


def test_missing_world_names_the_command_that_installs_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(__import__('sys').modules, 'rgbt_models.synthetic', None)
    assert main(['simulate', 'dataset', '--pairs', '1', '--out', str(tmp_path / 'set')]) == 2
    assert "pip install 'rgbt_perception[sim]'" in capsys.readouterr().err


def test_without_torch_export_names_the_command_that_installs_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'rgbt_models.publish', None)
    metrics = tmp_path / 'metrics.json'
    metrics.write_text('{}')
    assert main(['export', str(tmp_path), '--metrics', 'set', str(metrics)]) == 2
    error = capsys.readouterr().err
    assert "'rgbt_models.publish' is not installed" in error
    assert "pip install 'rgbt_perception[train]'" in error


def test_an_error_of_the_operating_system_is_one_line(tmp_path, capsys):
    bag = write_bag(tmp_path / 'bag')
    (tmp_path / 'file').touch()
    card = build_onnx_card(tmp_path / 'card')
    arguments = ['replay', str(bag), '--out', str(tmp_path / 'file'), '--model', str(card.folder)]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith('rgbt replay: ')
    assert str(tmp_path / 'file') in error


def test_options_reach_the_settings(tmp_path):
    from rgbt_perception.cli.options import load_pipeline_config

    args = build_parser().parse_args(
        ['replay', 'b', '--out', 'o', '--model', 'm/', '--backend', 'torch', '--device', 'cuda:1']
    )
    config = load_pipeline_config(args)
    assert config.model.card == 'm/'
    assert (config.engine.backend, config.engine.device) == ('torch', 'cuda:1')
    args = build_parser().parse_args(['replay', 'b', '--out', 'o'])
    assert load_pipeline_config(args) == PerceptionConfig()


@pytest.mark.parametrize(
    ('mdi', 'expected'),
    [
        (-1.0, '#---------|----------'),
        (0.0, '----------#----------'),
        (1.0, '----------|---------#'),
        (2.0, '----------|---------#'),
        (float('nan'), '----------|----------'),
    ],
)
def test_bar_shows_thermal_left_and_rgb_right(mdi, expected):
    assert mdi_bar(mdi) == expected


def test_progress_without_results_is_the_phase():
    assert progress_text(Progress(phase='starting')).plain == 'starting'


def test_export_without_anything_to_do_says_so(tmp_path, capsys):
    assert main(['export', str(tmp_path)]) == 2
    assert (
        'nothing to do; expected a training run, a graph to make or metrics'
        in capsys.readouterr().err
    )
