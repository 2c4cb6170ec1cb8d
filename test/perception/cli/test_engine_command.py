# SPDX-License-Identifier: Apache-2.0
"""``rgbt engine`` as a user sees it."""

from __future__ import annotations

import errno
import json
import os

from engine_cache_peer import content_of, date_back, fill, make_key
from fakes import build_onnx_card
import pytest

from rgbt_perception.cli.main import main
from rgbt_perception.engine.cache import EngineCache
from rgbt_perception.errors import EngineError
import rgbt_perception.pipeline

SIZE = len(content_of(make_key('used 1')))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'engines'


@pytest.fixture
def call(folder, capsys):
    """Give a function that runs the command on the folder and returns status, output, errors."""

    def call_engine(*arguments: str) -> tuple[int, str, str]:
        status = main(['engine', *arguments, '--cache-dir', str(folder)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call_engine


@pytest.mark.parametrize('action', ['list', 'verify'])
def test_an_empty_cache_has_no_engines(call, folder, action):
    assert call(action) == (0, 'no engines\n', '')
    assert call(action, '--json') == (0, '[]\n', '')
    assert not folder.exists()


def test_list_shows_what_each_engine_was_built_for(call, folder):
    key = make_key('mine 3', backend='openvino', precision='int8')
    EngineCache(folder).fetch(key, lambda path: path.write_bytes(bytes(3 << 20)))
    status, out, _ = call('list')
    assert status == 0
    lines = out.splitlines()
    assert lines[0] == 'mine 3: openvino 10.3.0, int8, 1x96x160'
    assert lines[1] == '  Orin (8.7), driver 540.4'
    assert lines[2].startswith(f'  {key.file_name}: 3.0 MiB, used 20')
    assert lines[2].endswith(' UTC, in use')
    assert lines[3] == f'1 engine, 3.0 MiB in {folder}'


def test_list_as_json_has_the_whole_key(call, folder):
    fill(folder, 'made 7')
    status, out, _ = call('list', '--json')
    (entry,) = json.loads(out)
    assert status == 0
    assert entry['record']['key']['graph_sha256'] == 'a' * 64
    assert entry['record']['key']['options'] == 'workspace 1024 MiB'
    assert entry['path'] == str(folder / make_key().file_name)
    assert entry['is_in_use'] is False
    assert entry['problem'] == ''


def test_verify_names_the_damaged_engine_and_exits_1(call, folder):
    fill(folder, 'good 1', 'bad 1')
    assert call('verify')[0] == 0
    path = folder / make_key('bad 1').file_name
    path.write_bytes(path.read_bytes().replace(b'engine', b'ENGINE'))
    assert call('list')[0] == 0
    status, out, _ = call('verify')
    assert status == 1
    assert [line for line in out.splitlines() if 'was altered' in line] == [
        line for line in out.splitlines() if path.name in line
    ]
    status, out, _ = call('verify', '--json')
    assert status == 1
    assert sorted(entry['problem'] for entry in json.loads(out)) == ['', 'was altered']


def test_an_engine_without_a_record_is_shown_as_unknown(call, folder):
    fill(folder, 'made 7')
    (folder / f'{make_key().digest}.json').unlink()
    status, out, _ = call('list')
    assert status == 0
    assert out.startswith(f'unknown engine\n  {make_key().file_name}: 0.0 MiB, used ')
    assert 'has no readable record' in out


def test_clear_removes_all_or_those_not_used_for_days(call, folder):
    fill(folder, 'old 1', 'young 1')
    date_back(folder, 'old 1', days=3)
    assert call('clear', '--older-than', '4')[1] == 'removed 0 engines, 0.0 MiB; 0 in use\n'
    assert call('clear', '--older-than', '2')[1] == 'removed 1 engine, 0.0 MiB; 0 in use\n'
    assert not (folder / make_key('old 1').file_name).exists()
    (folder / 'tensorrt-10.3.0.timings').write_text('of the builder')
    assert call('clear', '--all')[1] == 'removed 1 engine, 0.0 MiB; 0 in use\n'
    assert not list(folder.iterdir())


def test_clear_keeps_what_is_in_use_and_says_so(call, folder):
    key = make_key()
    path = EngineCache(folder).fetch(key, lambda path: path.write_bytes(content_of(key)))
    assert call('clear', '--all') == (0, 'removed 0 engines, 0.0 MiB; 1 in use\n', '')
    assert path.exists()


@pytest.mark.parametrize('arguments', [[], ['--all', '--older-than', '3'], ['--older-than', '0']])
def test_clear_wants_to_know_which(folder, arguments):
    with pytest.raises(SystemExit) as caught:
        main(['engine', 'clear', *arguments, '--cache-dir', str(folder)])
    assert caught.value.code == 2


def test_a_folder_open_to_others_is_one_line_and_status_2(call, folder):
    folder.mkdir()
    folder.chmod(0o777)
    status, out, error = call('list')
    assert (status, out) == (2, '')
    assert error == (
        f"rgbt engine: engine cache '{folder}' cannot be used: others may write to it; give it "
        f'mode 700, or set engine.cache_dir\n'
    )


def test_build_keeps_what_openvino_compiles_for_every_size(call, tmp_path, folder):
    pytest.importorskip('openvino', reason='needs openvino')
    card = build_onnx_card(tmp_path / 'card')
    arguments = ('build', str(card.folder), '--backend', 'openvino', '--precision', 'fp32')
    status, out, _ = call(*arguments, '--input', '96x128', '128x160')
    assert status == 0
    lines = out.splitlines()
    assert lines[0].endswith('runs on cpu in fp32 with backend openvino, input 96x128 px')
    assert lines[1].endswith('input 128x160 px')
    assert lines[2].startswith(f'{card.name} {card.version}: openvino ')
    assert [path.suffix for path in sorted(folder.iterdir())] == ['.blob', '.json']
    assert lines[-1].startswith('1 engine, ')


def test_build_compiles_the_network_of_torch_ahead_of_time(call, folder, monkeypatch):
    pytest.importorskip('torch', reason='needs torch')
    prepared, opened = [], []
    open_pipeline = rgbt_perception.pipeline.open_pipeline

    def open_late(config):
        opened.append(list(prepared))
        return open_pipeline(config)

    def prepare(card, config, input_hw):
        prepared.append((card.name, config.backend, input_hw))
        key = make_key(backend='torch')
        EngineCache(folder).fetch(key, lambda path: path.write_bytes(content_of(key)))

    monkeypatch.setattr('rgbt_perception.engine.torch_package.prepare_package', prepare)
    monkeypatch.setattr('rgbt_perception.pipeline.open_pipeline', open_late)
    status, out, _ = call('build', 'tiny', '--backend', 'torch', '--input', '64x96')
    assert status == 0
    assert prepared == [('tiny', 'torch', (64, 96))]
    assert opened == [prepared]  # what is run once is what was built
    assert out.splitlines()[-1].startswith('1 engine, ')


def test_what_was_built_but_not_kept_is_status_1(call, tmp_path, monkeypatch):
    pytest.importorskip('openvino', reason='needs openvino')

    def fill_disk(*_):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('rgbt_perception.engine.openvino._export', fill_disk)
    card = build_onnx_card(tmp_path / 'card')
    status, out, _ = call('build', str(card.folder), '--backend', 'openvino')
    assert status == 1
    assert out.splitlines()[1:] == ['1 of 1 engines could not be kept']


@pytest.mark.parametrize('is_open', [True, False], ids=['open to others', 'read-only'])
def test_nothing_is_built_for_a_folder_that_cannot_keep_it(call, folder, monkeypatch, is_open):
    folder.mkdir(mode=0o700)
    if is_open:
        folder.chmod(0o777)
    else:  # not by its mode: the superuser may write everywhere
        monkeypatch.setattr(os, 'access', lambda *_, **__: False)
    monkeypatch.setattr('rgbt_perception.pipeline.open_pipeline', pytest.fail)
    status, out, error = call('build', 'tiny', '--backend', 'openvino')
    assert (status, out) == (2, '')
    assert f"engine cache '{folder}' cannot be used: " in error
    assert error.count('\n') == 1


@pytest.mark.parametrize('is_asked', [True, False])
def test_build_makes_what_a_version_compatible_node_needs(call, monkeypatch, is_asked):
    asked = []

    def open_pipeline(config):
        asked.append(config.engine.version_compatible)
        raise EngineError('enough')

    monkeypatch.setattr('rgbt_perception.pipeline.open_pipeline', open_pipeline)
    assert call('build', 'tiny', *['--version-compatible'] * is_asked)[0] == 2
    assert asked == [is_asked]


def test_build_says_when_there_is_nothing_to_keep(call, tmp_path, folder):
    card = build_onnx_card(tmp_path / 'card')
    status, out, _ = call('build', str(card.folder), '--backend', 'onnx')
    assert status == 0
    assert out.splitlines()[1] == 'this backend builds nothing that could be kept'
    assert not folder.exists()


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['--backend', 'tensorrt', '--device', 'cuda:0'], "backend 'tensorrt' needs "),
        (['--backend', 'tflite'], "backend is 'tflite', expected one of auto, tensorrt"),
        (['--backend', 'onnx', '--input', '100x100'], 'expected multiples of 16'),
    ],
)
def test_what_cannot_be_built_is_one_line_and_status_2(call, tmp_path, arguments, sentence):
    card = build_onnx_card(tmp_path / 'card')
    status, _, error = call('build', str(card.folder), *arguments)
    assert status == 2
    assert sentence in error
    assert error.count('\n') == 1
