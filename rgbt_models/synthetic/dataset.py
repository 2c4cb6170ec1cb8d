# SPDX-License-Identifier: Apache-2.0
"""A folder of synthetic pairs with COCO boxes and maps, byte-identical by seed."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rgbt_models.errors import DatasetError
from rgbt_models.label_sets import DETECTION_CLASSES
from rgbt_models.synthetic.gain_control import tone_map
from rgbt_models.synthetic.materials import Label
from rgbt_models.synthetic.rig import Camera, CameraTiming, default_rig, Rig
from rgbt_models.synthetic.scene import WORLD_VERSION
from rgbt_models.synthetic.world import (
    Extra,
    render_pair,
    Sensors,
    SyntheticPair,
    temperature_of,
)
from rgbt_models.tlinear import COUNTS_PER_K, ZERO_C_IN_K

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rgbt_models.synthetic.arrays import ByteArray, CountArray, FloatArray, IndexArray
    from rgbt_models.synthetic.environment import Condition

    Row = dict[str, object]

_FIRST_CATEGORY_ID = 1  # COCO counts from one
_CATEGORIES = [
    {'id': number, 'name': name}
    for number, name in enumerate(DETECTION_CLASSES, start=_FIRST_CATEGORY_ID)
]
_SEGMENTATION_CLASSES = [label.name.lower() for label in Label]
_DEPTH_STEPS_PER_M = 100.0  # of the depth image
# Registered as a calibrated rig would be: half of the objects are nearer (median 16 m).
USUAL_DEPTH_M = 15.0
_LARGEST = 65535.0
_DEFAULT_SENSORS = Sensors(rgb_noise=0.01)
# Share of an object above which it counts as partly and as heavily hidden, as KAIST has it.
_OCCLUSION_LIMITS = (0.05, 0.5)
_GREY_STREAM = 6  # of random numbers
_FULL_TRUTH = Extra.AMODAL | Extra.CONTRAST


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetOptions:
    """What a data set holds besides images, boxes and label maps.

    Attributes:
        sensors: The electronics of both cameras; None draws others for each pair.
        has_full_truth: Also write instance maps, depth and temperature, and for each object its
            amodal box, occlusion, truncation and contrast in both cameras.
        has_grey_thermal: Also write thermal as 8-bit grey, each image with a gain control of its
            own.
    """

    sensors: Sensors | None = _DEFAULT_SENSORS
    has_full_truth: bool = False
    has_grey_thermal: bool = False


def write_dataset(
    out_dir: Path | str,
    *,
    num_pairs: int,
    seed: int,
    rig: Rig | None = None,
    condition: Condition | None = None,
    options: DatasetOptions | None = None,
) -> Path:
    """Render pairs of different scenes into a folder; see ``write_pairs`` for its layout.

    Args:
        out_dir: Created if missing; must not hold a data set yet.
        num_pairs: How many, at least 1.
        seed: Pair i is the scene of seed ``seed + i``.
        rig: The two cameras; ``default_rig()`` if None.
        condition: Light and weather; None draws for each pair.
        options: ``DatasetOptions()`` if None.

    Returns:
        Path of ``annotations.json``.

    Raises:
        DatasetError: If ``num_pairs`` is not positive or the folder holds a data set.
    """
    if num_pairs < 1:
        raise DatasetError(f'num_pairs is {num_pairs}; expected at least 1; ask for more pairs')
    used_rig = default_rig() if rig is None else rig
    used = DatasetOptions() if options is None else options
    pairs = (
        render_pair(
            seed + index,
            used_rig,
            condition=condition,
            sensors=used.sensors,
            extras=_FULL_TRUTH if used.has_full_truth else Extra.NONE,
        )
        for index in range(num_pairs)
    )
    info: Row = {
        'description': 'synthetic RGB-thermal pairs',
        'seed': seed,
        'rgb_noise': None if used.sensors is None else used.sensors.rgb_noise,
        **describe_rig(used_rig),
    }
    return write_pairs(out_dir, pairs, info=info, options=used)


def write_pairs(
    out_dir: Path | str,
    pairs: Iterable[SyntheticPair],
    *,
    info: Mapping[str, object],
    options: DatasetOptions | None = None,
) -> Path:
    """Write rendered pairs as a data set.

    Layout: ``annotations.json``, ``rgb/``, ``thermal/`` (16-bit PNG, counts) and ``label_map/``
    (8-bit PNG in RGB pixels). Boxes are those of the RGB view, in RGB pixels.

    With full truth also ``instance_map/`` (16-bit, RGB pixels, instance + 1, 0 = no object),
    ``depth/`` (16-bit, RGB pixels, 0.01 m, 0 = sky, 65535 = farther) and ``temperature/`` (16-bit,
    thermal pixels, 0.01 K, before the sensor), and for each object ``amodal_bbox``,
    ``occluded_share`` and ``truncated_share`` (0..1), ``occlusion`` (0 none, 1 partial, 2 heavy),
    ``contrast_rgb`` and ``contrast_thermal``; with grey thermal also ``thermal_grey/`` (8-bit).

    Images of a sequence say ``time_s`` (RGB exposure, since the start), ``skew_s`` (thermal minus
    RGB exposure), ``rgb_fault`` and ``thermal_fault`` (null = the camera works).

    Args:
        out_dir: Created if missing; must not hold a data set yet.
        pairs: With the extras that full truth needs, if that is asked for.
        info: Goes into ``info`` of the annotations, beside the version of the world, the units
            and the names of the classes.
        options: What to write; its sensors do not matter here. ``DatasetOptions()`` if None.

    Returns:
        Path of ``annotations.json``.

    Raises:
        DatasetError: If the folder holds a data set or a pair lacks truth that is asked for.
    """
    used = DatasetOptions() if options is None else options
    folder = Path(out_dir)
    target = folder / 'annotations.json'
    if target.exists():
        raise DatasetError(
            f"'{target}' exists; expected a new folder; choose another one or remove it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    images: list[Row] = []
    annotations: list[Row] = []
    for index, pair in enumerate(pairs):
        files = {**_plain_files(pair), **_full_files(pair, index, used)}
        images.append({**_write_files(folder, index, files), **_describe_pair(pair)})
        rows = _annotate(pair, image_id=index + 1, first_id=len(annotations) + 1)
        extras = _full_annotations(pair) if used.has_full_truth else [{}] * len(rows)
        annotations += [{**row, **extra} for row, extra in zip(rows, extras, strict=True)]
    own_info = {'world_version': WORLD_VERSION, 'thermal_unit': _describe_unit(images)}
    content = {
        'info': {**own_info, 'segmentation_classes': _SEGMENTATION_CLASSES, **info},
        'categories': _CATEGORIES,
        'images': images,
        'annotations': annotations,
    }
    target.write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
    return target


def describe_rig(rig: Rig) -> Row:
    """Return what a data set says about its cameras: matrices as rows one after another."""
    homography = rig.homography_thermal_to_rgb(USUAL_DEPTH_M)
    return {
        'homography_thermal_to_rgb': homography.ravel().tolist(),
        'homography_depth_m': USUAL_DEPTH_M,
        'rig': {
            'rgb': _describe_camera(rig.rgb, rig.rgb_timing),
            'thermal': _describe_camera(rig.thermal, rig.thermal_timing),
        },
    }


def _describe_camera(camera: Camera, timing: CameraTiming) -> Row:
    return {
        'height': camera.height,
        'width': camera.width,
        'intrinsics': camera.intrinsics.ravel().tolist(),
        'distortion': list(camera.distortion),
        'rotation': camera.rotation.ravel().tolist(),
        'position': camera.position.tolist(),
        'rate_hz': timing.rate_hz,
        'offset_s': timing.offset_s,
        'jitter_s': timing.jitter_s,
    }


def _describe_unit(images: list[Row]) -> str:
    if all('counts_per_k' not in image for image in images):
        return 'uint16, 0.01 K'
    return 'uint16, zero_c_counts + counts_per_k * degrees Celsius of each image'


def _plain_files(pair: SyntheticPair) -> dict[str, ByteArray | CountArray]:
    return {
        'rgb': np.ascontiguousarray(pair.rgb[..., ::-1]),
        'thermal': pair.thermal_raw,
        'label_map': pair.rgb_view.label_map,
    }


def _full_files(
    pair: SyntheticPair, index: int, options: DatasetOptions
) -> dict[str, ByteArray | CountArray]:
    files: dict[str, ByteArray | CountArray] = {}
    if options.has_grey_thermal:
        rng = np.random.default_rng([index, _GREY_STREAM])
        files['thermal_grey'] = tone_map(pair.thermal_raw, rng)
    if options.has_full_truth:
        kelvin = temperature_of(pair.thermal_view) + np.float32(ZERO_C_IN_K)
        files['instance_map'] = instances_to_counts(pair.rgb_view.instance_map)
        files['depth'] = depth_to_counts(pair.rgb_view.depth_m)
        files['temperature'] = _to_counts(kelvin * np.float32(COUNTS_PER_K))
    return files


def depth_to_counts(depth_m: FloatArray) -> CountArray:
    """Return depth as counts of 0.01 m: 0 = no depth (sky), 65535 = 655 m and more."""
    near = np.where(np.isfinite(depth_m), depth_m, np.float32(0.0))
    return _to_counts(near * np.float32(_DEPTH_STEPS_PER_M))


def instances_to_counts(instance_map: IndexArray) -> CountArray:
    """Return which object each pixel belongs to: 0 = none, then instance + 1."""
    return np.asarray((instance_map + 1).astype(np.uint16))


def _to_counts(values: FloatArray) -> CountArray:
    return np.asarray(np.clip(np.rint(values), 0.0, _LARGEST).astype(np.uint16))


def _write_files(folder: Path, index: int, files: dict[str, ByteArray | CountArray]) -> Row:
    row: Row = {'id': index + 1}
    for kind, image in files.items():
        name = f'{kind}/{index:06d}.png'
        (folder / kind).mkdir(exist_ok=True)
        _write_png(folder / name, image)
        row['file_name' if kind == 'rgb' else f'{kind}_file_name'] = name
    return row


def _write_png(path: Path, image: ByteArray | CountArray) -> None:
    is_encoded, data = cv2.imencode('.png', image)
    if not is_encoded:
        raise DatasetError(
            f"cannot encode '{path.name}' ({image.dtype}, {image.shape}); "
            f'expected an 8-bit or 16-bit image; check that OpenCV has PNG support'
        )
    path.write_bytes(data.tobytes())


def _describe_pair(pair: SyntheticPair) -> Row:
    height, width = pair.rgb.shape[:2]
    row: Row = {
        'height': height,
        'width': width,
        'is_night': pair.is_night,
        'condition': None if pair.condition is None else pair.condition.value,
    }
    sensor = pair.thermal_sensor
    if not sensor.is_tlinear or sensor.counts_per_k != COUNTS_PER_K:
        row['counts_per_k'], row['zero_c_counts'] = sensor.counts_per_k, sensor.zero_c_counts
    if pair.time_s is not None:
        row['time_s'] = round(pair.time_s, 6)
        row['skew_s'] = round(pair.skew_s, 6)
        for name, fault in (('rgb', pair.rgb_fault), ('thermal', pair.thermal_fault)):
            row[f'{name}_fault'] = None if fault is None else fault.value
    if pair.contrast is not None:
        row['contrast_advantage'] = round(pair.contrast.contrast_advantage, 4)
    return row


def _annotate(pair: SyntheticPair, *, image_id: int, first_id: int) -> list[Row]:
    objects = pair.rgb_view.objects
    rows: list[Row] = []
    for position, box in enumerate(objects.boxes_xyxy.tolist()):
        rows.append(
            {
                'id': first_id + position,
                'image_id': image_id,
                'category_id': int(objects.class_ids[position]) + _FIRST_CATEGORY_ID,
                'bbox': _to_coco(box),
                'area': float(objects.visible_area_px[position]),
                'iscrowd': 0,
                'ignore': int(objects.ignore[position]),
            }
        )
    return rows


def _full_annotations(pair: SyntheticPair) -> list[Row]:
    amodal, contrast = pair.rgb_view.amodal, pair.contrast
    if amodal is None or contrast is None:
        raise DatasetError(
            'a pair has no amodal boxes or no contrast; expected both for full truth; '
            'render it with extras=Extra.AMODAL | Extra.CONTRAST'
        )
    columns = zip(
        pair.rgb_view.objects.instance_ids.tolist(),
        amodal.boxes_xyxy.tolist(),
        amodal.occlusion.tolist(),
        amodal.truncation.tolist(),
        contrast.contrast_rgb.tolist(),
        contrast.contrast_thermal.tolist(),
        strict=True,
    )
    return [
        {
            'instance': instance + 1,  # value in the instance map
            'amodal_bbox': [round(value, 2) for value in _to_coco(box)],
            'occlusion': sum(hidden > limit for limit in _OCCLUSION_LIMITS),
            'occluded_share': round(hidden, 4),
            'truncated_share': round(cut, 4),
            'contrast_rgb': round(rgb, 4),
            'contrast_thermal': round(thermal, 4),
        }
        for instance, box, hidden, cut, rgb, thermal in columns
    ]


def _to_coco(box_xyxy: list[float]) -> list[float]:
    left, top, right, bottom = box_xyxy
    return [left, top, right - left, bottom - top]
