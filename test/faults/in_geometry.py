# SPDX-License-Identifier: Apache-2.0
"""Calibrations that are missing or cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sensor_msgs.msg import RegionOfInterest

from faults.table import live, sentence
from rgbt_perception.config import build_config
from rgbt_perception.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from faults.rig import FaultRig

FAMILY = 'Geometry'


@sentence(FAMILY, 'a homography that cannot be inverted', text='cannot be inverted')
def singular_homography(_: Path) -> str:
    values = {'registration.homography_thermal_to_rgb': [1.0, 2, 3, 2, 4, 6, 0, 0, 1]}
    return _refusal(values)


@sentence(FAMILY, 'a rotation that is none', text='is not a rotation')
def no_rotation(_: Path) -> str:
    values = {'registration.rotation_thermal_to_rgb': [1.0, 0, 0, 0, 1, 0, 0, 0, -1]}
    return _refusal(values)


@sentence(FAMILY, 'source file without a file', text='run rgbt calibrate')
def no_calibration_file(_: Path) -> str:
    return _refusal({'registration.source': 'file'})


def _refusal(values: dict[str, object]) -> str:
    try:
        build_config(values)
    except ConfigError as error:
        return str(error)
    return 'accepted'


@live(
    FAMILY,
    'extrinsics without any camera_info',
    mode='fused',
    status='synchronisation',
    level='WARN',
    text='extrinsics .*camera_info',
    registration__method='extrinsics',
)
def no_camera_info(rig: FaultRig) -> None:
    rig.steps(4)


EXTRINSICS = {'registration__method': 'extrinsics', 'registration__score_every': 0}


@live(
    FAMILY,
    'K of a camera_info is all zero',
    mode='fused',
    status='rgb input',
    level='WARN',
    text='K of the rgb camera_info is all zero, expected the intrinsics',
    **EXTRINSICS,
)
def all_zero_intrinsics(rig: FaultRig) -> None:
    rig.send_camera_info('rgb', k=[0.0] * 9)
    rig.steps(3)


@live(
    FAMILY,
    'an unknown lens model in a camera_info',
    mode='fused',
    status='thermal input',
    level='WARN',
    text='the thermal camera_info cannot be used: .*wobbly',
    **EXTRINSICS,
)
def unknown_lens(rig: FaultRig) -> None:
    rig.send_camera_info('thermal', distortion_model='wobbly', d=[0.1, 0.2])
    rig.steps(3)


@live(
    FAMILY,
    'images of another resolution than their camera_info',
    mode='fused',
    status='synchronisation',
    level='WARN',
    text='rgb',
    **EXTRINSICS,
)
def other_resolution(rig: FaultRig) -> None:
    rig.send_camera_info('thermal')
    rig.send_camera_info('rgb', height=200, width=200)
    rig.steps(4)


@live(
    FAMILY,
    'a region of interest is set in a camera_info',
    mode='fused',
    status='synchronisation',
    level='OK',
    text='pairs, mean',
    **EXTRINSICS,
)
def region_of_interest(rig: FaultRig) -> None:
    rig.send_camera_info('thermal')
    roi = RegionOfInterest(x_offset=10, y_offset=8, height=48, width=64)
    rig.send_camera_info('rgb', height=80, width=100, roi=roi)
    rig.steps(4)


@live(
    FAMILY,
    'camera_info comes late: thermal is only resized until then',
    mode='fused',
    status='synchronisation',
    level='OK',
    text='pairs, mean',
    **EXTRINSICS,
)
def late_camera_info(rig: FaultRig) -> None:
    rig.steps(3)
    rig.send_camera_info('thermal')
    rig.send_camera_info('rgb')
    rig.steps(3)


@live(
    FAMILY,
    'a homography that maps thermal beside the RGB image',
    mode='fused',
    status='synchronisation',
    level='WARN',
    text='thermal covers|covers|sees',
    registration__method='homography',
    registration__homography_thermal_to_rgb=[1.0, 0.0, 500.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
)
def beside_the_image(rig: FaultRig) -> None:
    rig.steps(3)
