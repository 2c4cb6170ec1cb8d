# SPDX-License-Identifier: Apache-2.0
"""Small bags and data set folders with ground truth, made by hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rgbt_perception.bag_messages import (
    BagTopics,
    build_typestore,
    Header,
    IMAGE,
    MessageFactory,
)
from rgbt_perception.bag_writer import BagWriter
from rgbt_perception.simulation import encode_rgb, encode_thermal
from rgbt_perception.truth import encode_label_map, Truth
from rgbt_perception.types import Modality

FIRST_NS = 1_700_000_000_000_000_000
STEP_NS = 200_000_000
SKEW_NS = 4_000_000
RGB_HW, THERMAL_HW = (48, 64), (40, 56)
RGB_FORMAT, THERMAL_FORMAT = 'rgb8; jpeg compressed bgr8', 'mono16; png compressed '
# In the 48x64 image, what the card of fakes.build_onnx_card finds: the middle half.
MIDDLE_BOX = (16.0, 12.0, 48.0, 36.0)


def rgb_pixels(index: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Smooth RGB picture, different for every index, that JPEG keeps well."""
    y, x = np.mgrid[: RGB_HW[0], : RGB_HW[1]]
    planes = (x * 3 + index, y * 4, 200 - x - y)
    return np.stack([np.clip(plane, 0, 255) for plane in planes], axis=-1).astype(np.uint8)


def thermal_pixels(index: int = 0) -> np.ndarray[Any, np.dtype[np.uint16]]:
    """16-bit counts, different for every pixel and index."""
    count = THERMAL_HW[0] * THERMAL_HW[1]
    return (29_000 + index + np.arange(count)).reshape(THERMAL_HW).astype(np.uint16)


def build_truth(*, is_night: bool | None = None, has_label_map: bool = True) -> Truth:
    """One person in the middle and one ignored car; road everywhere, sky in the first row."""
    label_map = np.full(RGB_HW, 1, np.uint8)
    label_map[0] = 0
    return Truth(
        boxes_xyxy=np.array([MIDDLE_BOX, (0.0, 1.0, 10.0, 9.0)], np.float32),
        class_names=('person', 'car'),
        ignore=np.array([False, True]),
        label_map_png=encode_label_map(label_map) if has_label_map else b'',
        is_night=is_night,
        sun_level=None if is_night is None else 0.25,
    )


def write_bag(
    path: Path,
    *,
    num_instants: int = 4,
    without_thermal: Collection[int] = (),
    has_truth: bool = True,
) -> Path:
    """Write a bag of compressed images at 5 Hz; night begins half-way."""
    with BagWriter(path) as writer:
        for index in range(num_instants):
            rgb_ns = FIRST_NS + index * STEP_NS
            header = Header(stamp_ns=rgb_ns, frame_id='rgb_optical_frame')
            if index == 0 and has_truth:
                names = ('sky', 'road')
                writer.write_truth_classes(names, header, rgb_ns)
            if has_truth:
                writer.write_truth(build_truth(is_night=index * 2 >= num_instants), header, rgb_ns)
            rgb = encode_rgb(rgb_pixels(index))
            writer.write_image(Modality.RGB, rgb, RGB_FORMAT, header, rgb_ns + 1)
            if index not in without_thermal:
                thermal_ns = rgb_ns + SKEW_NS
                header = Header(stamp_ns=thermal_ns, frame_id='thermal_optical_frame')
                thermal = encode_thermal(thermal_pixels(index))
                writer.write_image(
                    Modality.THERMAL, thermal, THERMAL_FORMAT, header, thermal_ns + 2
                )
    return path


def write_raw_bag(path: Path, *, encodings: Sequence[str], storage: str = 'MCAP') -> Path:
    """Write RGB and thermal images of the given thermal encodings as raw messages."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    store = build_typestore()
    make = MessageFactory(store)
    topics = BagTopics()
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage]) as writer:
        connections = {
            topic: writer.add_connection(topic, IMAGE, typestore=store)
            for topic in (topics.rgb, topics.thermal)
        }
        for index, encoding in enumerate(encodings):
            stamp_ns = FIRST_NS + index * STEP_NS
            rgb, thermal = rgb_pixels(index), thermal_pixels(index)
            for topic, pixels, name in (
                (topics.rgb, rgb, 'rgb8'),
                (topics.thermal, thermal, encoding),
            ):
                message = make.build(
                    IMAGE,
                    header=make.header(Header(stamp_ns=stamp_ns, frame_id='camera')),
                    height=pixels.shape[0],
                    width=pixels.shape[1],
                    encoding=name,
                    is_bigendian=0,
                    step=pixels.strides[0],
                    data=pixels.reshape(-1).view(np.uint8),
                )
                raw = store.serialize_cdr(message, IMAGE)
                writer.write(connections[topic], stamp_ns, raw)
    return path


def write_dataset(folder: Path, *, num_pairs: int = 3, **changes: Any) -> Path:
    """Write a data set folder; ``changes`` replace top-level parts of its annotations."""
    folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for index in range(num_pairs):
        names = {
            'file_name': f'{index}_rgb.png',
            'thermal_file_name': f'{index}_thermal.png',
            'label_map_file_name': f'{index}_label.png',
        }
        bgr = cv2.cvtColor(rgb_pixels(index), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(folder / names['file_name']), bgr)
        cv2.imwrite(str(folder / names['thermal_file_name']), thermal_pixels(index))
        label_map = np.full(RGB_HW, 1, np.uint8)
        cv2.imwrite(str(folder / names['label_map_file_name']), label_map)
        images.append({'id': 10 + index, **names, 'is_night': index > 0})
        x_min, y_min, x_max, y_max = MIDDLE_BOX
        box = [x_min, y_min, x_max - x_min, y_max - y_min]
        for category_id, ignore, iscrowd in ((7, 0, 0), (3, 1, 0), (9, 0, 0), (7, 0, 1)):
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': 10 + index,
                    'category_id': category_id,
                    'bbox': box,
                    'ignore': ignore,
                    'iscrowd': iscrowd,
                }
            )
    document = {
        'info': {'segmentation_classes': ['sky', 'road']},
        'images': images,
        'annotations': annotations,
        'categories': [
            {'id': 7, 'name': 'person'},
            {'id': 3, 'name': 'car'},
            {'id': 9, 'name': 'cyclist'},
        ],
    }
    text = json.dumps({**document, **changes})
    (folder / 'annotations.json').write_text(text, encoding='utf-8')
    return folder
