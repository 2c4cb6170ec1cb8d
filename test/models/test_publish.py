# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import asdict, replace
import json

from made_models import make_card, painted_sample, small_model
from made_variants import with_variant
import pytest

from rgbt_models import publish
from rgbt_models.build import ARCHITECTURES
from rgbt_models.calibrate import CalibrationFit
from rgbt_models.card import CARDS_DIR, load_card, MdiCalibration, save_card, verify_file
from rgbt_models.errors import CardError, DatasetError, ExportError, WeightsError
from rgbt_models.label_sets import DETECTION_CLASSES, PACKAGE_LABEL_SET, SEGMENTATION_CLASSES
from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.publish import publish_run, record_metrics
from rgbt_models.train.config import TrainConfig
from rgbt_models.weights import save_weights

CONFIG = TrainConfig(
    architecture='small',
    rgb_mean=(0.1, 0.2, 0.3),
    thermal_std=0.31,
    thermal_normaliser=ThermalNormaliser(low_percentile=3.0),
)


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """Return the folder of a finished run; tracing and calibration have their own tests."""
    monkeypatch.setitem(ARCHITECTURES, 'small', lambda **classes: small_model(seed=1))
    monkeypatch.setattr(
        'rgbt_models.calibrate.render_sample',
        lambda seed, *, scale: painted_sample((30 + seed % 40, 20, 60 + seed % 40, 80)),
    )

    def write_graph(_model, path):
        path.write_bytes(b'graph')
        return 1.234e-6

    monkeypatch.setattr(publish, 'export_graph', write_graph)
    path = tmp_path / 'run'
    path.mkdir()
    save_weights(small_model(seed=2), path / 'weights.safetensors')
    run = {'steps': 12, 'seconds': 3.5, 'config': asdict(CONFIG), **PACKAGE_LABEL_SET.to_json()}
    (path / 'run.json').write_text(json.dumps(run))
    return path


def test_a_published_card_describes_the_run_and_its_files(run_dir, tmp_path):
    card = publish_run(
        run_dir=run_dir,
        card_dir=tmp_path / 'new' / 'mine',
        version='4',
        calibration_pairs=4,
    )
    loaded = load_card(tmp_path / 'new' / 'mine')
    assert loaded == replace(card, folder=loaded.folder)
    assert (card.name, card.version, card.architecture) == ('mine', '4', 'small')
    assert (card.rgb_mean, card.thermal_std) == ((0.1, 0.2, 0.3), 0.31)
    assert card.thermal_normaliser.low_percentile == 3.0
    assert card.detection_classes == DETECTION_CLASSES
    assert card.segmentation_classes == SEGMENTATION_CLASSES
    assert card.synthetic_only
    assert card.training['steps'] == 12
    assert card.training['onnx_parity'] == 1.2e-6
    assert card.training['mdi_calibration_pairs'] == 4
    assert card.training['mdi_calibration_target'] == 'labelled Shapley index'
    verify_file(loaded.weights_path, card.weights_sha256)
    verify_file(loaded.graph_path, card.graph_sha256)


def test_a_card_does_not_hide_what_its_encoder_has_seen(run_dir, tmp_path):
    run = json.loads((run_dir / 'run.json').read_text())
    (run_dir / 'run.json').write_text(json.dumps({**run, 'encoder_origin': 'kaist'}))
    card = publish_run(
        run_dir=run_dir, card_dir=tmp_path / 'mine', version='1', calibration_pairs=4
    )
    assert card.training_data.endswith('; its encoder was pretrained on: kaist.')
    assert (card.synthetic_only, card.licence) == (False, 'NOASSERTION')


@pytest.mark.parametrize(
    ('init_from', 'shown'),
    [('/elsewhere/runs/first/weights.safetensors', 'first/weights.safetensors'), ('', '')],
)
def test_a_card_does_not_say_where_files_lay(run_dir, tmp_path, init_from, shown):
    run = json.loads((run_dir / 'run.json').read_text())
    run['config']['init_from'] = init_from
    (run_dir / 'run.json').write_text(json.dumps(run))
    card = publish_run(
        run_dir=run_dir, card_dir=tmp_path / 'mine', version='1', calibration_pairs=4
    )
    assert card.training['config']['init_from'] == shown


def test_the_calibration_goes_into_the_card(run_dir, tmp_path, monkeypatch):
    calibration = MdiCalibration(weights=(1.0, 2.0, 3.0), bias=-0.5)
    fit = CalibrationFit(calibration=calibration, correlation=0.98765, num_pairs=9)
    monkeypatch.setattr(publish, 'calibrate_mdi', lambda *args, **settings: fit)
    card = publish_run(
        run_dir=run_dir, card_dir=tmp_path / 'mine', version='1', calibration_pairs=9
    )
    assert card.mdi_calibration == calibration
    assert card.training['mdi_calibration_correlation'] == 0.988


def test_a_folder_without_a_run_is_said(run_dir, tmp_path):
    (run_dir / 'run.json').unlink()
    with pytest.raises(
        DatasetError, match=r'holds no run.json; expected the folder of a finished'
    ):
        publish_run(run_dir=run_dir, card_dir=tmp_path / 'c', version='1', calibration_pairs=4)
    assert not (tmp_path / 'c').exists()


def test_weights_of_another_architecture_are_said(run_dir, tmp_path):
    save_weights(small_model(dim=48), run_dir / 'weights.safetensors')
    with pytest.raises(WeightsError, match='do not fit the model'):
        publish_run(run_dir=run_dir, card_dir=tmp_path / 'c', version='1', calibration_pairs=4)


def test_metrics_are_added_beside_the_others(tmp_path):
    (tmp_path / 'card.json').write_text(make_card().to_json(), encoding='utf-8')
    record_metrics(tmp_path, 'held_out', {'mAP': 0.25})
    card = record_metrics(tmp_path, 'real', {'AP50': {'person': 0.5}})
    assert load_card(tmp_path) == card
    assert card.metrics == {
        'set': {'AP50': {'person': 0.5}},
        'held_out': {'mAP': 0.25},
        'real': {'AP50': {'person': 0.5}},
    }
    assert json.loads(card.to_json())['version'] == '7'


def test_a_run_that_cannot_be_exported_leaves_the_old_card_whole(run_dir, tmp_path, monkeypatch):
    settings = {'run_dir': run_dir, 'card_dir': tmp_path / 'mine', 'calibration_pairs': 4}
    publish_run(version='1', **settings)
    save_weights(small_model(seed=3), run_dir / 'weights.safetensors')

    def fail(_model, path):
        path.write_bytes(b'half a graph')
        raise ExportError('differs')

    with monkeypatch.context() as patch:
        patch.setattr(publish, 'export_graph', fail)
        with pytest.raises(ExportError, match='differs'):
            publish_run(version='2', **settings)
    card = load_card(tmp_path / 'mine')
    assert card.version == '1'
    verify_file(card.weights_path, card.weights_sha256)
    verify_file(card.graph_path, card.graph_sha256)
    assert len(list(card.folder.iterdir())) == 3
    card = publish_run(version='2', **settings)
    verify_file(card.weights_path, card.weights_sha256)


def test_graphs_of_the_former_weights_go_with_them(run_dir, tmp_path):
    settings = {'run_dir': run_dir, 'card_dir': tmp_path / 'mine', 'calibration_pairs': 4}
    former = with_variant(publish_run(version='1', **settings), 'onnx', 'int8')
    save_card(former)
    card = publish_run(version='2', **settings)
    assert load_card(card.folder).variants == ()
    assert sorted(path.name for path in card.folder.iterdir()) == [
        'card.json',
        'model.onnx',
        'model.safetensors',
    ]


def test_an_interrupted_export_can_be_repeated_into_the_new_folder(run_dir, tmp_path, monkeypatch):
    settings = {'run_dir': run_dir, 'card_dir': tmp_path / 'mine', 'calibration_pairs': 4}
    with monkeypatch.context() as patch:
        patch.setattr('rgbt_models.card_folder.save_card', interrupt)
        with pytest.raises(KeyboardInterrupt):
            publish_run(version='1', **settings)
    card = publish_run(version='1', **settings)
    verify_file(card.weights_path, card.weights_sha256)


def interrupt(_card):
    raise KeyboardInterrupt


def test_a_folder_with_other_files_is_not_published_to(run_dir, tmp_path):
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'thesis.txt').write_text('')
    settings = {'run_dir': run_dir, 'version': '1', 'calibration_pairs': 4}
    for folder, said in ((tmp_path / 'home', 'holds files'), (CARDS_DIR / 'new', 'installed')):
        with pytest.raises(CardError, match=said):
            publish_run(card_dir=folder, **settings)
    assert not (CARDS_DIR / 'new').exists()
