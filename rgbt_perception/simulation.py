# SPDX-License-Identifier: Apache-2.0
"""Scenarios of the simulated world as bags and as folders of pairs.

The world and its cameras come from ``rgbt_models.synthetic``; what is added here is what happens
to images on a vehicle: stamps of a clock, compression, transport.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.bag_messages import Header
from rgbt_perception.bag_writer import BagWriter
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import RegistrationConfig
from rgbt_perception.convert import FIRST_STAMP_NS, FRAME_IDS, write_rig_file
from rgbt_perception.errors import ConfigError
from rgbt_perception.share import find_share_file
from rgbt_perception.truth import encode_label_map, Truth
from rgbt_perception.types import ByteArray, Modality, NS_PER_S

if TYPE_CHECKING:
    from rgbt_models.synthetic import Camera, Rig, Scenario, Shot

SCENARIO_FOLDER = 'config/scenarios'
SAMPLE_DRIVE = 'dusk_to_night'
JPEG_QUALITY = 85
_SUFFIXES = ('.yaml', '.yml')


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioChanges:
    """What is changed in a scenario that was read; None = nothing.

    Attributes:
        seed: The same settings give the same images.
        duration_s: Length.
        rate_hz: Images per second of both cameras.
        scale: Size of both images, as a part of what the scenario says.
        has_failures: False: both cameras work all the time.
        has_camera_info: True: the model of each camera is written beside its images.
        has_full_truth: True: all truth is written.
    """

    seed: int | None = None
    duration_s: float | None = None
    rate_hz: float | None = None
    scale: float | None = None
    has_failures: bool = True
    has_camera_info: bool = False
    has_full_truth: bool = False


def load_scenario(name: str, changes: ScenarioChanges | None = None) -> Scenario:
    """Read a scenario.

    Args:
        name: Of a shipped one, or path of a YAML file.
        changes: Applied after reading.

    Raises:
        ConfigError: If there is no scenario of this name.
        DatasetError: If the file cannot be used.
    """
    from rgbt_models.synthetic import read_scenario

    scenario = read_scenario(find_scenario(name))
    return scenario if changes is None else change_scenario(scenario, changes)


def find_scenario(name: str) -> Path:
    """Return the file of a scenario: that of a path, or the shipped one of a name.

    Raises:
        ConfigError: If there is none.
    """
    path = Path(name)
    if path.suffix in _SUFFIXES or path.is_file():
        return path
    shipped = {item.stem: item for item in find_share_file(SCENARIO_FOLDER).glob('*.yaml')}
    if name not in shipped:
        near = difflib.get_close_matches(name, shipped, n=1)
        hint = f"did you mean '{near[0]}'?" if near else 'name a file that ends in .yaml'
        raise ConfigError(
            f"there is no scenario '{name}'; expected a YAML file or one of "
            f'{", ".join(sorted(shipped))}; {hint}'
        )
    return shipped[name]


def change_scenario(scenario: Scenario, changes: ScenarioChanges) -> Scenario:
    """Return a scenario with some settings changed."""
    if changes.seed is not None:
        scenario = replace(scenario, seed=changes.seed)
    if changes.duration_s is not None:
        scenario = replace(scenario, duration_s=changes.duration_s)
    if changes.rate_hz is not None:
        scenario = scenario.with_rate(changes.rate_hz)
    if changes.scale is not None:
        rig = replace(scenario.rig, scale=scenario.rig.scale * changes.scale)
        scenario = replace(scenario, rig=rig)
    if not changes.has_failures:
        scenario = replace(scenario, failures=())
    if changes.has_camera_info:
        scenario = replace(scenario, write=replace(scenario.write, camera_info=True))
    if changes.has_full_truth:
        scenario = replace(scenario, write=replace(scenario.write, full=True))
    return scenario


def write_scenario_bag(scenario: Scenario, out: Path) -> Iterator[int]:
    """Write a scenario as a bag, with ``rig.param.yaml`` beside it.

    Args:
        scenario: What to render; the same one gives the same bytes.
        out: Folder of the bag, to be created.

    Yields:
        The number of images rendered, after each; ``exposures(scenario)`` says how many there are.

    Raises:
        BagError: If ``out`` exists.
    """
    from rgbt_models.synthetic import build_rig, Label, render_sequence

    rig = build_rig(scenario)
    cameras = rig_cameras(rig) if scenario.write.camera_info else {}
    names = tuple(label.name.lower() for label in Label)
    with BagWriter(out) as writer:
        if scenario.write.truth:
            header = Header(stamp_ns=FIRST_STAMP_NS, frame_id=FRAME_IDS[Modality.RGB])
            writer.write_truth_classes(names, header, FIRST_STAMP_NS)
        for index, shot in enumerate(render_sequence(scenario)):
            modality = Modality(shot.camera)
            header = Header(stamp_ns=stamp_ns(shot), frame_id=FRAME_IDS[modality])
            # The recorder has the clock of the rig, not that of the camera.
            arrival_s = shot.time_s + transport_s(scenario, shot)
            log_ns = FIRST_STAMP_NS + round(arrival_s * NS_PER_S)
            _write_image(writer, shot, header, log_ns)
            if modality is Modality.RGB:
                _write_truth(writer, shot, scenario, header, log_ns)
            if modality in cameras and shot.image is not None:
                writer.write_camera_info(modality, cameras[modality], header, log_ns)
            yield index + 1
    write_rig_file(out, registration_of(rig))


def write_scenario_folder(
    scenario: Scenario,
    out: Path,
    *,
    watch: Callable[[Iterator[Shot]], Iterable[Shot]] | None = None,
) -> Path:
    """Write a scenario as a folder of pairs: each RGB image with the thermal image nearest to it.

    Args:
        scenario: What to render; the same one gives the same bytes.
        out: Folder, created if missing; must not hold a data set yet.
        watch: Put around the images as they are rendered, e.g. a progress bar.

    Returns:
        Path of ``annotations.json``.

    Raises:
        DatasetError: If the folder holds a data set.
    """
    from rgbt_models.synthetic import (
        build_rig,
        DatasetOptions,
        pair_shots,
        render_sequence,
        write_pairs,
    )
    from rgbt_models.synthetic.dataset import describe_rig

    rig, is_full = build_rig(scenario), scenario.write.has_full_truth
    shots = render_sequence(scenario, amodal=is_full)
    rates = (scenario.rig.rgb.rate_hz, scenario.rig.thermal.rate_hz)
    pairs = pair_shots(
        shots if watch is None else watch(shots),
        rig,
        max_apart_s=0.5 / min(rates) + 1e-6,
        has_contrast=is_full,
    )
    info = {
        'description': 'synthetic RGB-thermal sequence',
        'seed': scenario.seed,
        'scenario': asdict(scenario),
        **describe_rig(rig),
    }
    return write_pairs(out, pairs, info=info, options=DatasetOptions(has_full_truth=is_full))


def stamp_ns(shot: Shot) -> int:
    """Return the stamp of an image of a bag, nanoseconds."""
    return FIRST_STAMP_NS + round(shot.stamp_s * NS_PER_S)


def transport_s(scenario: Scenario, shot: Shot) -> float:
    """Return the time from the exposure of an image to the arrival of its message, seconds."""
    from rgbt_models.synthetic.faults import FaultKind, LATE_S

    camera = scenario.rig.rgb if shot.camera == 'rgb' else scenario.rig.thermal
    return camera.transport_s + (LATE_S if shot.fault is FaultKind.LATE else 0.0)


def registration_of(rig: Rig) -> RegistrationConfig:
    """Return where thermal lies on RGB at the usual depth, as ``describe_rig`` has it."""
    from rgbt_models.synthetic.dataset import USUAL_DEPTH_M

    homography = tuple(float(x) for x in rig.homography_thermal_to_rgb(USUAL_DEPTH_M).ravel())
    return RegistrationConfig(method='homography', homography_thermal_to_rgb=homography)


def rig_cameras(rig: Rig) -> dict[Modality, CameraModel]:
    """Return the cameras of a rig as ROS describes cameras."""
    return {Modality.RGB: _camera_model(rig.rgb), Modality.THERMAL: _camera_model(rig.thermal)}


def _camera_model(camera: Camera) -> CameraModel:
    names = {0: 'none', 4: 'plumb_bob', 5: 'plumb_bob', 8: 'rational_polynomial'}
    return CameraModel(
        intrinsics=camera.intrinsics,
        distortion_model=names[len(camera.distortion)],
        distortion=tuple(camera.distortion),
        size_hw=(camera.height, camera.width),
    )


def build_truth(shot: Shot) -> Truth:
    """Return the ground truth of an RGB image, in its pixels."""
    from rgbt_models.label_sets import DETECTION_CLASSES

    objects = shot.view.objects
    return Truth(
        boxes_xyxy=objects.boxes_xyxy,
        class_names=tuple(DETECTION_CLASSES[class_id] for class_id in objects.class_ids.tolist()),
        ignore=objects.ignore,
        label_map_png=encode_label_map(shot.view.label_map),
        is_night=shot.environment.is_night,
        sun_level=1.0 - float(shot.environment.lights),
    )


def encode_rgb(pixels: ByteArray) -> bytes:
    """Encode an RGB image, shape (h, w, 3) uint8, as JPEG."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(data.tobytes())


def encode_thermal(counts: NDArray[np.uint16]) -> bytes:
    """Encode thermal counts, or anything else of shape (h, w) uint16, as PNG without loss."""
    _, data = cv2.imencode('.png', counts, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return bytes(data.tobytes())


def encode_depth(depth_m: NDArray[np.float32]) -> bytes:
    """Encode depth as 16-bit PNG of 0.01 m; 0 = no depth (sky), 65535 = 655 m and more."""
    from rgbt_models.synthetic.dataset import depth_to_counts

    return encode_thermal(depth_to_counts(depth_m))


def encode_instances(instance_map: NDArray[np.int32]) -> bytes:
    """Encode which object each pixel belongs to as 16-bit PNG: 0 = none, then number + 1."""
    from rgbt_models.synthetic.dataset import instances_to_counts

    return encode_thermal(instances_to_counts(instance_map))


def _write_image(writer: BagWriter, shot: Shot, header: Header, log_ns: int) -> None:
    if shot.image is None:
        return
    modality = Modality(shot.camera)
    if modality is Modality.RGB:
        encoded, form = encode_rgb(shot.image), 'rgb8; jpeg compressed bgr8'
    else:
        encoded, form = encode_thermal(shot.image), 'mono16; png compressed '
    writer.write_image(modality, encoded, form, header, log_ns)


def _write_truth(
    writer: BagWriter, shot: Shot, scenario: Scenario, header: Header, log_ns: int
) -> None:
    write = scenario.write
    if shot.image is None:
        return  # nothing that the truth could belong to
    if write.truth:
        writer.write_truth(build_truth(shot), header, log_ns)
    if write.has_depth:
        writer.write_truth_image('depth', encode_depth(shot.view.depth_m), header, log_ns)
    if write.has_instances:
        png = encode_instances(shot.view.instance_map)
        writer.write_truth_image('instances', png, header, log_ns)
