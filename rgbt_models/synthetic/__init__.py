# SPDX-License-Identifier: Apache-2.0
"""A simulated RGB-thermal street, ray cast, with exact ground truth."""

from rgbt_models.synthetic.dataset import write_dataset
from rgbt_models.synthetic.drive import Drive, DriveInstant, render_drive, sample_drive
from rgbt_models.synthetic.environment import Environment, interpolate
from rgbt_models.synthetic.labels import ObjectTruth
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.rig import build_camera, Camera, default_rig, random_rig, Rig, RigError
from rgbt_models.synthetic.scene import EgoPose, sample_scene, Scene, Snapshot, WORLD_VERSION
from rgbt_models.synthetic.sensors import count_thermal, expose_rgb, Exposure
from rgbt_models.synthetic.world import (
    CameraView,
    render_pair,
    render_view,
    render_views,
    SyntheticPair,
    ViewError,
)

__all__ = [
    'WORLD_VERSION',
    'Camera',
    'CameraView',
    'Drive',
    'DriveInstant',
    'EgoPose',
    'Environment',
    'Exposure',
    'Label',
    'ObjectTruth',
    'Rig',
    'RigError',
    'Scene',
    'Snapshot',
    'SyntheticPair',
    'ViewError',
    'build_camera',
    'count_thermal',
    'default_rig',
    'expose_rgb',
    'interpolate',
    'random_rig',
    'render_drive',
    'render_pair',
    'render_view',
    'render_views',
    'sample_drive',
    'sample_scene',
    'write_dataset',
]
