# SPDX-License-Identifier: Apache-2.0
"""A simulated RGB-thermal street, ray cast, with exact ground truth."""

from rgbt_models.synthetic.amodal import AmodalTruth
from rgbt_models.synthetic.contrast import PairContrast
from rgbt_models.synthetic.dataset import DatasetOptions, describe_rig, write_dataset, write_pairs
from rgbt_models.synthetic.environment import Condition, Environment, interpolate
from rgbt_models.synthetic.faults import FaultKind, kinds_of, LATE_S, spoil_image
from rgbt_models.synthetic.gain_control import sample_tone_map, tone_map, ToneCurve, ToneMap
from rgbt_models.synthetic.labels import ObjectTruth
from rgbt_models.synthetic.layouts import Layout, LayoutKind
from rgbt_models.synthetic.lens import LensError
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.rgb_sensor import expose_rgb, Exposure, RgbSensor, sample_rgb_sensor
from rgbt_models.synthetic.rig import (
    build_camera,
    Camera,
    CameraTiming,
    default_rig,
    random_rig,
    Rig,
    RigError,
)
from rgbt_models.synthetic.scenario import build_scenario, read_scenario, Scenario
from rgbt_models.synthetic.scene import EgoPose, sample_scene, Scene, Snapshot, WORLD_VERSION
from rgbt_models.synthetic.sequence import (
    build_rig,
    exposures,
    pair_shots,
    render_sequence,
    sample_sequence,
    Sequence,
    Shot,
)
from rgbt_models.synthetic.sequence_sensors import build_thermal_sensor
from rgbt_models.synthetic.thermal_sensor import (
    count_thermal,
    sample_thermal_sensor,
    ThermalSensor,
    ThermalSensorError,
    tlinear_sensor,
)
from rgbt_models.synthetic.world import (
    CameraView,
    contrast_of,
    Extra,
    render_pair,
    render_view,
    render_views,
    Sensors,
    SyntheticPair,
    ViewError,
)

__all__ = [
    'LATE_S',
    'WORLD_VERSION',
    'AmodalTruth',
    'Camera',
    'CameraTiming',
    'CameraView',
    'Condition',
    'DatasetOptions',
    'EgoPose',
    'Environment',
    'Exposure',
    'Extra',
    'FaultKind',
    'Label',
    'Layout',
    'LayoutKind',
    'LensError',
    'ObjectTruth',
    'PairContrast',
    'RgbSensor',
    'Rig',
    'RigError',
    'Scenario',
    'Scene',
    'Sensors',
    'Sequence',
    'Shot',
    'Snapshot',
    'SyntheticPair',
    'ThermalSensor',
    'ThermalSensorError',
    'ToneCurve',
    'ToneMap',
    'ViewError',
    'build_camera',
    'build_rig',
    'build_scenario',
    'build_thermal_sensor',
    'contrast_of',
    'count_thermal',
    'default_rig',
    'describe_rig',
    'expose_rgb',
    'exposures',
    'interpolate',
    'kinds_of',
    'pair_shots',
    'random_rig',
    'read_scenario',
    'render_pair',
    'render_sequence',
    'render_view',
    'render_views',
    'sample_rgb_sensor',
    'sample_scene',
    'sample_sequence',
    'sample_thermal_sensor',
    'sample_tone_map',
    'spoil_image',
    'tlinear_sensor',
    'tone_map',
    'write_dataset',
    'write_pairs',
]
