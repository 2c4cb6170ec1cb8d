# SPDX-License-Identifier: Apache-2.0
"""A simulated world for RGB and thermal cameras, ray cast, with exact ground truth."""

from rgbt_models.synthetic.dataset import DatasetOptions, write_dataset, write_pairs
from rgbt_models.synthetic.environment import Condition, Environment, interpolate
from rgbt_models.synthetic.gain_control import tone_map
from rgbt_models.synthetic.layouts import LayoutKind
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.rgb_sensor import RgbSensor
from rgbt_models.synthetic.rig import (
    build_camera,
    Camera,
    CameraTiming,
    default_rig,
    random_rig,
    Rig,
)
from rgbt_models.synthetic.scenario import build_scenario, read_scenario, Scenario
from rgbt_models.synthetic.scene import EgoPose, sample_scene, Scene, WORLD_VERSION
from rgbt_models.synthetic.sequence import build_rig, pair_shots, render_sequence, Shot
from rgbt_models.synthetic.thermal_sensor import ThermalSensor
from rgbt_models.synthetic.world import (
    CameraView,
    contrast_of,
    Extra,
    render_pair,
    render_view,
    render_views,
    Sensors,
    SyntheticPair,
)

__all__ = [
    'WORLD_VERSION',
    'Camera',
    'CameraTiming',
    'CameraView',
    'Condition',
    'DatasetOptions',
    'EgoPose',
    'Environment',
    'Extra',
    'Label',
    'LayoutKind',
    'RgbSensor',
    'Rig',
    'Scenario',
    'Scene',
    'Sensors',
    'Shot',
    'SyntheticPair',
    'ThermalSensor',
    'build_camera',
    'build_rig',
    'build_scenario',
    'contrast_of',
    'default_rig',
    'interpolate',
    'pair_shots',
    'random_rig',
    'read_scenario',
    'render_pair',
    'render_sequence',
    'render_view',
    'render_views',
    'sample_scene',
    'tone_map',
    'write_dataset',
    'write_pairs',
]
