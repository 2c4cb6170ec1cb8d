# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from fakes import build_card, build_onnx_card
import pytest

from rgbt_perception.cli.main import main

CPUINFO = """\
processor\t: 0
model name\t: Some CPU @ 2 GHz
flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16
"""


@pytest.fixture(autouse=True)
def cpu(monkeypatch, tmp_path):
    """Be on a CPU with AVX-512, on which the order of 'auto' depends."""
    (tmp_path / 'cpuinfo').write_text(CPUINFO, encoding='utf-8')
    monkeypatch.setattr('rgbt_models.cpu._CPUINFO', tmp_path / 'cpuinfo')


@pytest.fixture
def model(tmp_path):
    return str(build_onnx_card(tmp_path / 'card').folder)


def report(capsys, *arguments):
    status = main(['doctor', '--json', *arguments])
    return status, json.loads(capsys.readouterr().out)


def test_the_table_fits_80_columns_and_says_what_was_never_run(model, capsys):
    assert main(['doctor', model]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1] == (
        "TensorRT: contract-tested against NVIDIA's bindings 8.6 to 11, never executed."
    )
    assert any(line.startswith('  openvino') and line.endswith('in fp32') for line in lines)
    assert any(
        line.startswith('  auto') and 'openvino in fp32, the first' in line for line in lines
    )


def test_json_has_what_auto_takes_and_what_it_would_fall_back_to(model, capsys):
    status, found = report(capsys, model)
    assert status == 0
    engines = found['engines']
    assert (engines['card'], engines['device']) == ('fake', 'cpu')
    assert [item['backend'] for item in engines['backends']] == [
        'openvino',
        'onnx',
        'torch',
        'tensorrt',
    ]
    assert engines['auto'] == 'openvino in fp32, the first that is usable; should it fail: onnx'
    assert engines['backends'][2]['reason'] == "'model.safetensors' is missing"


def test_a_card_that_nothing_can_run_gives_status_1(tmp_path, capsys):
    build_card(tmp_path / 'empty')
    status, found = report(capsys, str(tmp_path / 'empty'))
    assert (status, found['engines']['auto']) == (1, '')


def test_a_precision_that_no_graph_has_gives_status_1(model, capsys):
    status, found = report(capsys, model, '--precision', 'int8')
    assert status == 1
    assert "has no int8 graph for backend 'openvino'" in found['engines']['backends'][0]['reason']


def test_the_cpu_is_read_with_what_it_lacks(model, capsys, tmp_path):
    found = report(capsys, model)[1]['machine']
    assert found['CPU'].startswith('Some CPU @ 2 GHz, ')
    assert found['CPU has'] == 'avx2, avx512f, avx512_vnni, avx512_bf16'
    assert found['CPU lacks'] == 'nothing that matters here'


def test_gpus_are_named_by_their_driver(model, capsys, monkeypatch, tmp_path):
    folder = tmp_path / 'gpus' / '0000:01:00.0'
    folder.mkdir(parents=True)
    (folder / 'information').write_text('Model: \t\t NVIDIA RTX\nIRQ: 1\n', encoding='utf-8')
    monkeypatch.setattr('rgbt_perception.engine.machine._GPU_INFORMATION', tmp_path / 'gpus')
    assert report(capsys, model)[1]['machine']['GPU'] == 'NVIDIA RTX'


def test_the_cache_is_described_or_what_is_wrong_with_it(model, capsys, tmp_path):
    cache = report(capsys, model, '--cache-dir', str(tmp_path / 'none'))[1]['cache']
    assert cache == {'folder': str(tmp_path / 'none'), 'state': '0 engines, 0 MiB'}
    (tmp_path / 'open').mkdir()
    (tmp_path / 'open').chmod(0o777)
    cache = report(capsys, model, '--cache-dir', str(tmp_path / 'open'))[1]['cache']
    assert cache['state'].startswith('not usable: others may write to it; ')


def test_the_transport_profile_is_found_or_named(model, capsys, monkeypatch):
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    from rgbt_perception.demo import profile_variable

    monkeypatch.delenv(profile_variable(), raising=False)
    text = report(capsys, model)[1]['ros']['Fast DDS profile']
    assert text.startswith(f'none: set {profile_variable()} to /')
    monkeypatch.setenv(profile_variable(), '/own.xml')
    assert report(capsys, model)[1]['ros']['Fast DDS profile'] == '/own.xml'


def test_a_module_that_is_not_there_is_not_found(model, capsys, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    status, found = report(capsys, model)
    assert status == 1
    assert found['ros']['rclpy'] == 'not found'
