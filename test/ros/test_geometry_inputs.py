# SPDX-License-Identifier: Apache-2.0
"""Camera models from camera_info and the pose from tf reach the registration."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo

from rgbt_perception.errors import BackendUnavailableError
from rgbt_perception.ros.pose_lookup import PoseLookup, rotation_matrix
from rgbt_perception.types import Modality

EXTRINSICS = {'registration.method': 'extrinsics'}


def info_of(width, height, focal):
    info = CameraInfo(height=height, width=width, distortion_model='plumb_bob', d=[0.0] * 5)
    middle = ((width - 1) / 2, (height - 1) / 2)
    info.k = [focal, 0.0, middle[0], 0.0, focal, middle[1], 0.0, 0.0, 1.0]
    return info


def publish_infos(rig, **infos):
    for name, info in infos.items():
        publisher = rig.user.create_publisher(CameraInfo, f'{name}/camera_info', 1)
        rig.wait_until(publisher.get_subscription_count, f'{name}/camera_info is heard')
        publisher.publish(info)


def test_camera_info_makes_registration_by_extrinsics_work(make_rig):
    rig = make_rig({**EXTRINSICS, 'registration.translation_thermal_to_rgb': [0.5, 0.0, 0.0]})
    rig.start()
    rig.run_pair()
    registration = rig.node._loop._pipeline.registration
    assert 'camera_info' in registration.problem
    publish_infos(rig, rgb=info_of(64, 48, 50.0), thermal=info_of(56, 40, 40.0))
    rig.wait_until(lambda: rig.run_pair() and not registration.problem, 'both are taken over')
    # At depth 10 m the thermal camera, 0.5 m to the right, sees a point ahead of RGB at -0.05:
    # its pixel lies 40 * 0.05 = 2 px left of the middle.
    box = registration.boxes_to_thermal(np.array([[31.0, 23.0, 33.0, 25.0]]), (48, 64), (40, 56))
    assert (box[0, 0] + box[0, 2]) / 2 == pytest.approx(28.0 - 2.0, abs=1e-3)
    assert (box[0, 1] + box[0, 3]) / 2 == pytest.approx(20.0, abs=1e-3)


def test_a_camera_is_taken_over_once_and_after_a_change(rig, monkeypatch):
    taken = []
    monkeypatch.setattr(
        rig.node._loop._pipeline, 'set_camera', lambda modality, model: taken.append(modality)
    )
    publisher = rig.user.create_publisher(CameraInfo, 'rgb/camera_info', 1)
    rig.wait_until(publisher.get_subscription_count, 'it is heard')
    for focal in (50.0, 50.0, 55.0):
        for stamp in range(2):
            info = info_of(64, 48, focal)
            info.header.stamp.sec = stamp
            publisher.publish(info)
            rig.run_pair()
    rig.wait_until(lambda: rig.run_pair() and len(taken) == 2, 'the change is taken over')
    assert taken == [Modality.RGB, Modality.RGB]


def test_an_uncalibrated_camera_is_named_when_it_matters(make_rig):
    rig = make_rig(EXTRINSICS)
    rig.start()
    publish_infos(rig, thermal=info_of(56, 40, 0.0))
    rig.wait_until(
        lambda: 'camera_info of thermal not used: ' in rig.log_text(), 'the log says so'
    )
    rig.run_pair()


def test_an_uncalibrated_camera_is_nobodys_business_otherwise(rig):
    publish_infos(rig, thermal=info_of(56, 40, 0.0))
    rig.wait_until(lambda: rig.node._loop._cameras.infos, 'it has arrived')
    rig.run_pair()
    assert 'camera_info' not in rig.log_text()


class FakeBuffer:
    """Stands in for tf2_ros.Buffer, which is not on PyPI."""

    transform = None
    asked = ()

    def lookup_transform(self, target, source, _time):
        type(self).asked = (target, source)
        if self.transform is None:
            raise LookupError('frame does not exist')
        return SimpleNamespace(transform=self.transform)


class FakeListener:
    num_listening = 0

    def __init__(self, _buffer, _node, *, spin_thread):
        assert not spin_thread
        type(self).num_listening += 1

    def unregister(self):
        type(self).num_listening -= 1


@pytest.fixture
def tf2(monkeypatch):
    module = SimpleNamespace(
        Buffer=type('Buffer', (FakeBuffer,), {}), TransformListener=FakeListener
    )
    monkeypatch.setitem(sys.modules, 'tf2_ros', module)
    monkeypatch.setattr(FakeListener, 'num_listening', 0)
    return module


def test_the_pose_is_looked_up_until_tf_knows_it(make_rig, tf2, monkeypatch):
    monkeypatch.setattr('rgbt_perception.ros.loop.POSE_PERIOD_S', 0.02)
    rig = make_rig({**EXTRINSICS, 'registration.source': 'tf'})
    rig.start()
    assert FakeListener.num_listening == 1
    rig.run_pair()
    sentence = "no transform from 'thermal_optical_frame' to 'rgb_optical_frame' yet"
    rig.wait_until(lambda: sentence in rig.log_text(), 'the log says what is missing')
    assert tf2.Buffer.asked == ('rgb_optical_frame', 'thermal_optical_frame')
    publish_infos(rig, rgb=info_of(64, 48, 50.0), thermal=info_of(56, 40, 40.0))
    tf2.Buffer.transform = SimpleNamespace(
        rotation=SimpleNamespace(x=0.0, y=0.0, z=0.0, w=1.0),
        translation=SimpleNamespace(x=0.5, y=0.0, z=0.0),
    )
    registration = rig.node._loop._pipeline.registration
    rig.wait_until(lambda: rig.run_pair() and not registration.problem, 'the pose is used')
    assert FakeListener.num_listening == 0
    box = registration.boxes_to_thermal(np.array([[31.0, 23.0, 33.0, 25.0]]), (48, 64), (40, 56))
    assert (box[0, 0] + box[0, 2]) / 2 == pytest.approx(28.0 - 2.0, abs=1e-3)


def test_deactivating_ends_a_search_that_found_nothing(make_rig, tf2):
    rig = make_rig({**EXTRINSICS, 'registration.source': 'tf'})
    rig.start()
    rig.node.trigger_deactivate()
    assert FakeListener.num_listening == 0


def test_without_tf2_configure_fails_with_its_sentence(make_rig, monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    with pytest.raises(BackendUnavailableError, match="use source 'file' or 'parameters'"):
        PoseLookup.check_installed()
    rig = make_rig({**EXTRINSICS, 'registration.source': 'tf'})
    assert not rig.node.start()
    rig.wait_until(
        lambda: "cannot configure: registration.source 'tf' needs tf2_ros" in rig.log_text(),
        'the sentence is logged',
    )


def test_a_quaternion_turns_as_tf_means_it():
    # A quarter turn about z: x becomes y.
    half = np.sqrt(0.5)
    matrix = rotation_matrix(0.0, 0.0, half, half)
    np.testing.assert_allclose(matrix @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=1e-12)
    # About (1, 1, 1) by 120 degrees, not normalised: x to y, y to z, z to x.
    matrix = rotation_matrix(2.0, 2.0, 2.0, 2.0)
    np.testing.assert_allclose(matrix @ [1.0, 2.0, 3.0], [3.0, 1.0, 2.0], atol=1e-12)
