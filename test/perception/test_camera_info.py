# SPDX-License-Identifier: Apache-2.0
"""Camera models on their way from a bag into the registration."""

from __future__ import annotations

from dataclasses import replace

from fakes import build_card, FakeEngine, rgb_frame, thermal_frame
from made_data import FIRST_NS, RGB_HW, THERMAL_HW, write_bag
import numpy as np
import pytest

from rgbt_perception.bag import BagReader
from rgbt_perception.bag_messages import BagTopics, camera_info_topic, Header
from rgbt_perception.bag_writer import BagWriter, RIG_FILE
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import build_config, PerceptionConfig
from rgbt_perception.errors import ConfigError
from rgbt_perception.evaluate import PipelinePool
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.replay import replay
from rgbt_perception.simulation import (
    load_scenario,
    SAMPLE_DRIVE,
    ScenarioChanges,
    write_scenario_bag,
)
from rgbt_perception.sources import open_source
from rgbt_perception.types import Modality, Pair

EXTRINSICS = {
    'registration.method': 'extrinsics',
    'registration.translation_thermal_to_rgb': (0.1, 0.0, 0.0),
    'registration.depth_m': 5.0,
}


def camera(size_hw, focal, **changes):
    height, width = size_hw
    values = {
        'intrinsics': np.array(
            [[focal, 0, (width - 1) / 2], [0, focal + 1, height / 2], [0, 0, 1]], np.float64
        ),
        'distortion_model': 'plumb_bob',
        'distortion': (-0.1, 0.01, 0.001, 0.002, 0.0),
        'size_hw': size_hw,
        **changes,
    }
    return CameraModel(**values)


CAMERAS = {Modality.RGB: camera(RGB_HW, 60.0), Modality.THERMAL: camera(THERMAL_HW, 50.0)}


class WriterWithCameras(BagWriter):
    """Puts a camera_info beside every image."""

    def write_image(self, modality, encoded, image_format, header, log_ns):
        if modality in CAMERAS:
            self.write_camera_info(modality, CAMERAS[modality], header, log_ns)
        super().write_image(modality, encoded, image_format, header, log_ns)


@pytest.fixture
def bag(tmp_path, monkeypatch):
    monkeypatch.setattr('made_data.BagWriter', WriterWithCameras)
    return write_bag(tmp_path / 'bag', num_instants=2)


def build_pipeline(folder, **settings):
    config = build_config({**EXTRINSICS, **settings})
    return Pipeline(card=build_card(folder), engine=FakeEngine(), config=config)


@pytest.mark.parametrize(
    ('images', 'info'),
    [
        ('/rgb/image_raw', '/rgb/camera_info'),
        ('/front/rgb/image_raw/compressed', '/front/rgb/camera_info'),
        ('/image', '/camera_info'),
    ],
)
def test_camera_info_lies_beside_the_images(images, info):
    assert camera_info_topic(images) == info


def test_what_is_written_is_read(bag):
    with BagReader(bag) as reader:
        models = reader.camera_models()
    assert set(models) == set(Modality)
    assert all(model.is_same(CAMERAS[modality]) for modality, model in models.items())


def test_a_camera_without_distortion_is_written_as_ros_expects(tmp_path):
    plain = camera(RGB_HW, 60.0, distortion_model='none', distortion=())
    with BagWriter(tmp_path / 'bag') as writer:
        writer.write_camera_info(Modality.RGB, plain, Header(stamp_ns=5, frame_id='rgb'), 6)
    with BagReader(tmp_path / 'bag') as reader:
        _, log_ns, message = next(iter(reader.messages('/rgb/camera_info')))
    assert log_ns == 6
    assert (message.distortion_model, message.d.tolist()) == ('plumb_bob', [0.0] * 5)
    assert (message.height, message.width) == RGB_HW
    assert message.p.tolist() == [60, 0, 31.5, 0, 0, 61, 24, 0, 0, 0, 1, 0]


def test_a_bag_without_camera_info_has_no_models(tmp_path):
    with BagReader(write_bag(tmp_path / 'bag')) as reader:
        assert reader.camera_models() == {}


def test_replay_registers_with_the_cameras_of_the_bag(tmp_path, bag):
    pipeline = build_pipeline(tmp_path)
    with BagReader(bag) as reader:
        assert len(list(replay(reader, pipeline))) == 2
    assert pipeline.registration.problem == ''
    # The thermal camera is 10 cm further right: 60 px * 0.1 m / 5 m further left in the image.
    boxes = np.array([[20.0, 10.0, 40.0, 30.0]])
    moved = pipeline.registration.boxes_to_thermal(boxes, RGB_HW, THERMAL_HW)
    still = build_pipeline(tmp_path, **{'registration.translation_thermal_to_rgb': (0.0,) * 3})
    for modality, model in CAMERAS.items():
        still.set_camera(modality, model)
    unmoved = still.registration.boxes_to_thermal(boxes, RGB_HW, THERMAL_HW)
    assert (unmoved - moved)[0, 0] == pytest.approx(50 * 0.1 / 5, abs=0.05)


def test_replay_refuses_a_bag_that_lacks_them(tmp_path):
    path = write_bag(tmp_path / 'bag', num_instants=2)
    with (
        BagReader(path) as reader,
        pytest.raises(ConfigError, match=r'lacks the rgb camera_info .* source file'),
    ):
        list(replay(reader, build_pipeline(tmp_path)))


def test_replay_cannot_take_a_pose_from_tf(tmp_path, bag):
    pipeline = build_pipeline(tmp_path, **{'registration.source': 'tf'})
    with (
        BagReader(bag) as reader,
        pytest.raises(ConfigError, match='lacks the transform between the optical frames'),
    ):
        list(replay(reader, pipeline))


def test_evaluation_takes_the_cameras_of_the_bag(tmp_path, bag):
    config = build_config(EXTRINSICS)
    source = open_source(bag, config)
    assert source.cameras[Modality.THERMAL].is_same(CAMERAS[Modality.THERMAL])
    pool = PipelinePool(
        card=build_card(tmp_path), engine=FakeEngine(), config=config, cameras=source.cameras
    )
    assert pool.pipeline_for(RGB_HW).registration.problem == ''
    without = PipelinePool(card=pool.card, engine=FakeEngine(), config=config)
    with pytest.raises(ConfigError, match='lacks the rgb camera_info'):
        without.pipeline_for(RGB_HW)


def test_the_rig_file_beside_a_bag_may_ask_for_extrinsics(bag):
    (bag / RIG_FILE).write_text(
        '/**:\n  ros__parameters:\n    registration:\n      method: extrinsics\n'
    )
    assert set(open_source(bag, PerceptionConfig()).cameras) == set(Modality)


def test_cameras_are_not_read_when_nothing_needs_them(bag):
    assert open_source(bag, PerceptionConfig()).cameras == {}


def test_a_pipeline_takes_pose_and_cameras_while_it_runs(tmp_path):
    pipeline = build_pipeline(tmp_path, **{'registration.source': 'tf'})
    pair = Pair(rgb=rgb_frame(), thermal=thermal_frame())
    pipeline.run(pair)
    assert 'thermal is only resized' in pipeline.registration.problem
    for modality, model in CAMERAS.items():
        pipeline.set_camera(modality, model)
    pipeline.set_pose(np.eye(3), np.array([0.1, 0.0, 0.0]))
    pipeline.run(pair)
    assert pipeline.registration.problem == ''
    assert pipeline.registration.covered_share > 0.9


def test_a_drive_may_carry_the_cameras_of_its_rig(tmp_path):
    changes = ScenarioChanges(duration_s=0.4, scale=0.1, has_failures=False)
    for has_camera_info in (True, False):
        out = tmp_path / str(has_camera_info)
        changes = replace(changes, has_camera_info=has_camera_info)
        list(write_scenario_bag(load_scenario(SAMPLE_DRIVE, changes), out))
    with BagReader(tmp_path / 'True') as reader:
        models = reader.camera_models()
        (_, first_ns, _), *_ = reader.messages('/rgb/camera_info')
    assert first_ns >= FIRST_NS
    assert models[Modality.RGB].size_hw == (48, 64)
    assert models[Modality.THERMAL].size_hw == (26, 32)
    with BagReader(tmp_path / 'False') as reader:
        assert BagTopics().rgb + '/compressed' in reader.topic_types
        assert reader.camera_models() == {}
