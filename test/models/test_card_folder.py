# SPDX-License-Identifier: Apache-2.0
"""How the files of a card get into its folder, and what an interruption leaves."""

from __future__ import annotations

from dataclasses import replace
import errno
from pathlib import Path
import shutil

from made_models import make_card
from made_variants import with_variant
import pytest

from rgbt_models import card_folder
from rgbt_models.card import load_card, save_card
from rgbt_models.card_folder import check_card_folder, write_card
from rgbt_models.errors import CardError

COPY = shutil.copyfile


@pytest.fixture
def files(tmp_path):
    """Return new weights and a new graph, outside of any card."""
    (tmp_path / 'made').mkdir()
    paths = [tmp_path / 'made' / name for name in ('model.safetensors', 'model.onnx')]
    for path in paths:
        path.write_bytes(b'new')
    return paths


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fill_disk_at_the_graph(source, path):
    if source.suffix == '.onnx':
        path.write_bytes(b'n')
        raise OSError(errno.ENOSPC, 'no space left')
    return COPY(source, path)


def test_a_new_folder_gets_the_files_and_the_card_last(files, tmp_path, monkeypatch):
    placed, move = [], Path.replace

    def replace_(draft, path):
        if path.parent == tmp_path / 'new' / 'card':
            placed.append(path.name)
        return move(draft, path)

    monkeypatch.setattr(Path, 'replace', replace_)
    card = make_card(folder=tmp_path / 'new' / 'card')
    write_card(card, files)
    assert placed == ['model.safetensors', 'model.onnx', 'card.json']
    assert set(contents(card.folder)) == set(placed)
    assert load_card(card.folder) == card


def test_a_full_disk_leaves_a_new_folder_that_can_be_written_to(files, tmp_path, monkeypatch):
    card = make_card(folder=tmp_path / 'card')
    with monkeypatch.context() as patch:
        patch.setattr(card_folder.shutil, 'copyfile', fill_disk_at_the_graph)
        with pytest.raises(OSError, match='no space left'):
            write_card(card, files)
    assert contents(card.folder) == {}
    check_card_folder(card.folder)
    write_card(card, files)


def test_a_full_disk_leaves_the_old_card_whole(files, tmp_path, monkeypatch):
    card = make_card(folder=tmp_path / 'card')
    write_card(card, files)
    before = contents(card.folder)
    for file in files:
        file.write_bytes(b'newer')
    monkeypatch.setattr(card_folder.shutil, 'copyfile', fill_disk_at_the_graph)
    with pytest.raises(OSError, match='no space left'):
        write_card(replace(card, version='8'), files)
    assert contents(card.folder) == before


def test_what_was_killed_can_be_repeated_and_other_hidden_files_are_kept(files, tmp_path):
    card = make_card(folder=tmp_path / 'card')
    (card.folder / '.rgbt_draft_a1').mkdir(parents=True)
    (card.folder / '.rgbt_draft_a1' / 'model.onnx').write_bytes(b'ha')
    check_card_folder(card.folder)
    write_card(card, files)
    assert load_card(card.folder) == card
    (tmp_path / '.git').mkdir()
    with pytest.raises(CardError, match=r'holds files, but no card\.json'):
        check_card_folder(tmp_path)


def test_only_graphs_that_the_card_no_longer_names_are_removed(files, tmp_path):
    card = make_card(folder=tmp_path / 'card')
    write_card(card, files)
    both = with_variant(with_variant(card, 'onnx', 'int8'), 'tensorrt', 'fp16')
    save_card(both)
    (card.folder / 'model.mine.onnx').write_bytes(b'of somebody')
    write_card(replace(both, variants=both.variants[1:]), [])
    assert sorted(contents(card.folder)) == [
        'card.json',
        'model.fp16.tensorrt.onnx',
        'model.mine.onnx',
        'model.onnx',
        'model.safetensors',
    ]


def test_a_card_that_cannot_be_read_is_written_over(files, tmp_path):
    card = make_card(folder=tmp_path / 'card')
    card.folder.mkdir()
    (card.folder / 'card.json').write_text('{')
    write_card(card, files)
    assert load_card(card.folder) == card
