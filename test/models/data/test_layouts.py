# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from made_layouts import HW, labels, make_kaist, MAKERS, picture, voc, voc_box, write_text
import numpy as np
import pytest

from rgbt_models.data import iterate_pairs, LAYOUTS, read_layout, Skipped
from rgbt_models.errors import DatasetError

# Names of the pairs, and how many are left out, by layout.
EXPECTED = {
    'flir-aligned': (['FLIR_00002', 'FLIR_08864'], 1),
    'llvip': (['190001', '190002', '010001'], 1),
    'kaist': (['set00/V000/I00001', 'set06/V002/I00019', 'set09/V000/I00019'], 0),
    'm3fd': (['00000', '00001'], 0),
    'mfnet': (['00001D', '00002N'], 0),
    'pst900': (['test/00002N', 'train/00001D'], 0),
    'msrs': (['test/00002N', 'train/00001D'], 0),
    'fmb': (['test/00002N', 'train/00001D'], 0),
    'semanticrt': (['a_01'], 0),
    'mvseg': (['INO_ClosePerson1/00237'], 1),
    'vt821': (['1'], 0),
    'vt1000': (['1'], 0),
    'vt5000': (['train/1', 'test/1'], 0),
    'metu-vistir': (
        ['cloudy/scene_1/IM_00006', 'cloudy/scene_1/IM_00588', 'sunny/scene_1/IM_09452'],
        1,
    ),
    'folders': (['set_a/000', 'set_b/000'], 0),
}


def read(tmp_path, name, **options):
    MAKERS[name](tmp_path)
    skipped = Skipped()
    manifest = read_layout(name, tmp_path, skipped=skipped, **options)
    return manifest, skipped


def test_every_layout_has_a_test():
    assert set(EXPECTED) == set(MAKERS) == set(LAYOUTS)


@pytest.mark.parametrize('name', sorted(EXPECTED))
def test_every_pair_of_the_layout_is_found_and_can_be_decoded(tmp_path, name):
    manifest, skipped = read(tmp_path, name)
    names, num_skipped = EXPECTED[name]
    assert [entry.name for entry in manifest.entries] == names
    assert len(skipped) == num_skipped
    pairs = list(iterate_pairs(manifest.entries, skipped))
    assert [pair.name for pair in pairs] == names
    assert all(pair.rgb.shape == (*HW, 3) and pair.thermal.shape == HW for pair in pairs)
    has_labels = bool(manifest.segmentation_classes)
    assert all((pair.label_map is not None) is has_labels for pair in pairs)
    assert all((pair.boxes is not None) is bool(manifest.detection_classes) for pair in pairs)
    assert all((pair.mask is not None) is name.startswith('vt') for pair in pairs)


@pytest.mark.parametrize(
    ('name', 'num_classes'),
    [('mfnet', 9), ('pst900', 5), ('msrs', 9), ('fmb', 15), ('semanticrt', 13), ('mvseg', 26)],
)
def test_label_maps_keep_their_ids_and_every_id_has_a_name(tmp_path, name, num_classes):
    manifest, skipped = read(tmp_path, name)
    pair = next(iterate_pairs(manifest.entries, skipped))
    np.testing.assert_array_equal(pair.label_map, labels(num_classes))
    assert len(manifest.segmentation_classes) == num_classes
    assert manifest.segmentation_classes[0] == 'background'


@pytest.mark.parametrize(
    ('name', 'split', 'names'),
    [
        ('flir-aligned', 'validation', ['FLIR_08864']),
        ('llvip', 'train', ['010001']),
        ('kaist', 'test', ['set06/V002/I00019', 'set09/V000/I00019']),
        ('kaist', 'test-night-20', ['set09/V000/I00019']),
        ('m3fd', 'val', ['00001']),
        ('mfnet', 'test_night', ['00002N']),
        ('fmb', 'train', ['train/00001D']),
        ('semanticrt', 'test_mo', ['b_02']),
        ('vt5000', 'test', ['test/1']),
        ('metu-vistir', 'sunny', ['sunny/scene_1/IM_09452']),
    ],
)
def test_a_split_is_read_alone(tmp_path, name, split, names):
    manifest, _ = read(tmp_path, name, split=split)
    assert [entry.name for entry in manifest.entries] == names


def test_voc_boxes_become_edges_counted_from_zero(tmp_path):
    manifest, _ = read(tmp_path, 'flir-aligned')
    person, dog = manifest.entries[0].boxes
    assert person.box_xyxy == (2.0, 4.0, 7.0, 20.0)
    assert (person.class_name, dog.class_name) == ('person', 'dog')


def test_difficult_boxes_are_ignored(tmp_path):
    manifest, _ = read(tmp_path, 'llvip')
    assert manifest.entries[0].boxes[0].ignore


def test_kaist_text_labels_carry_occlusion_and_ignored_names(tmp_path):
    manifest, _ = read(tmp_path, 'kaist')
    person, people = manifest.entries[0].boxes
    assert person.box_xyxy == (3.0, 4.0, 8.0, 16.0)
    assert (person.occlusion, person.ignore) == (1, False)
    assert (people.class_name, people.ignore) == ('people', True)
    assert manifest.entries[1].boxes == manifest.entries[0].boxes  # flat file names, too


def test_kaist_sets_say_day_or_night_and_frames_without_labels_are_left_out(tmp_path):
    make_kaist(tmp_path)
    (tmp_path / 'annotations/set06_V002_I00019.txt').unlink()
    skipped = Skipped()
    manifest = read_layout('kaist', tmp_path, skipped=skipped)
    assert [entry.is_night for entry in manifest.entries] == [False, True]
    assert [entry.split for entry in manifest.entries] == ['train', 'test']
    assert skipped.reasons == {'set06/V002/I00019': 'there is no annotation of this frame'}


def test_kaist_xml_labels_are_read_where_there_are_no_others(tmp_path):
    make_kaist(tmp_path)
    for path in sorted((tmp_path / 'annotations_paired').rglob('*.txt')):
        path.unlink()
    (tmp_path / 'annotations/set00/V000/I00001.txt').unlink()
    text = (
        '<annotation><object><name>person?</name><bndbox><x>1</x><y>2</y><w>3</w><h>4</h></bndbox>'
        '<occlusion>2</occlusion></object></annotation>'
    )
    write_text(tmp_path / 'annotations-xml-new/set00/V000/I00001.xml', text)
    box = read_layout('kaist', tmp_path, split='train').entries[0].boxes[0]
    assert (box.box_xyxy, box.occlusion, box.ignore) == ((1.0, 2.0, 4.0, 6.0), 2, True)


def test_mfnet_thermal_is_the_fourth_channel_and_rgb_keeps_its_order(tmp_path):
    manifest, skipped = read(tmp_path, 'mfnet')
    pair = next(iterate_pairs(manifest.entries, skipped))
    stored = picture(5, 4)  # as OpenCV writes it: blue, green, red, alpha
    np.testing.assert_array_equal(pair.thermal, stored[..., 3])
    np.testing.assert_array_equal(pair.rgb, stored[..., [2, 1, 0]])
    assert [entry.is_night for entry in manifest.entries] == [False, True]


def test_metu_pairs_are_marked_as_not_registered(tmp_path):
    manifest, _ = read(tmp_path, 'metu-vistir')
    assert not any(entry.is_registered for entry in manifest.entries)


def test_a_broken_label_file_leaves_its_pair_out_by_name(tmp_path):
    MAKERS['m3fd'](tmp_path)
    (tmp_path / 'Annotation/00000.xml').write_text('<annotation><object>', encoding='utf-8')
    skipped = Skipped()
    manifest = read_layout('m3fd', tmp_path, skipped=skipped)
    assert [entry.name for entry in manifest.entries] == ['00001']
    assert 'expected a VOC annotation' in skipped.reasons['00000']


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', 'declares a document type'),
        ('<annotation><object><name>a</name></object></annotation>', 'without name or bndbox'),
        (voc(voc_box('a', (9, 1, 2, 3))), 'without area'),
        (voc('<name>a</name><bndbox><xmin>x</xmin></bndbox>'), 'could not convert'),
    ],
)
def test_malformed_xml_is_named(tmp_path, text, reason):
    MAKERS['m3fd'](tmp_path)
    (tmp_path / 'Annotation/00000.xml').write_text(text, encoding='utf-8')
    skipped = Skipped()
    read_layout('m3fd', tmp_path, skipped=skipped)
    assert reason in skipped.reasons['00000']


def test_a_malformed_kaist_line_is_named(tmp_path):
    make_kaist(tmp_path)
    write_text(tmp_path / 'annotations/set09/V000/I00019.txt', 'person 3 four 5 12 1\n')
    skipped = Skipped()
    read_layout('kaist', tmp_path, skipped=skipped)
    assert "has the line 'person 3 four 5 12 1'" in skipped.reasons['set09/V000/I00019']


@pytest.mark.parametrize('name', sorted(MAKERS))
def test_an_empty_folder_is_refused_in_one_sentence(tmp_path, name):
    with pytest.raises(DatasetError, match=r'expected'):
        read_layout(name, tmp_path)


def test_unknown_layouts_folders_and_splits_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="unknown layout 'kitti', expected one of flir-aligned"):
        read_layout('kitti', tmp_path)
    with pytest.raises(DatasetError, match='there is no folder'):
        read_layout('kaist', tmp_path / 'absent')
    MAKERS['msrs'](tmp_path)
    with pytest.raises(DatasetError, match="has no split 'val', expected one of test, train"):
        read_layout('msrs', tmp_path, split='val')
