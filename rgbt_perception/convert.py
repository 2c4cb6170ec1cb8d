# SPDX-License-Identifier: Apache-2.0
"""Conversion of a folder of pairs with COCO boxes to a bag.

Image files go into the bag as they are: nothing is decoded and encoded again.
"""

from __future__ import annotations

from pathlib import Path

from rgbt_perception.bag_messages import BagTopics, Header
from rgbt_perception.bag_writer import BagWriter, RIG_FILE
from rgbt_perception.config import RegistrationConfig
from rgbt_perception.datasets import decode_image_file, image_format, PairDataset, read_file
from rgbt_perception.types import Modality, NS_PER_S

# Bags need stamps; those of a folder of pairs count up from here (2024-01-01 00:00 UTC).
FIRST_STAMP_NS = 1_704_067_200 * NS_PER_S
FRAME_IDS = {Modality.RGB: 'rgb_optical_frame', Modality.THERMAL: 'thermal_optical_frame'}


def convert_pairs(
    dataset: PairDataset, out: Path, *, rate_hz: float, topics: BagTopics | None = None
) -> int:
    """Write the pairs of a folder to a new bag, ground truth included.

    Args:
        dataset: The folder.
        out: Folder of the bag, to be created.
        rate_hz: Pairs per second, > 0; both frames of a pair get the same stamp.
        topics: Where images and ground truth go.

    Returns:
        Number of pairs written.

    Raises:
        BagError: If ``out`` exists.
        DatasetError: If an image cannot be decoded.
    """
    with BagWriter(out, topics=topics) as writer:
        for index, entry in enumerate(dataset.entries):
            stamp_ns = FIRST_STAMP_NS + round(index * NS_PER_S / rate_hz)
            paths = {Modality.RGB: entry.rgb_path, Modality.THERMAL: entry.thermal_path}
            headers = {
                modality: Header(stamp_ns=stamp_ns, frame_id=frame_id)
                for modality, frame_id in FRAME_IDS.items()
            }
            for modality, path in paths.items():
                text = compressed_format(path, modality)
                writer.write_image(modality, read_file(path), text, headers[modality], stamp_ns)
            truth = dataset.load_truth(entry)
            if index == 0 and dataset.segmentation_classes is not None:
                names = dataset.segmentation_classes
                writer.write_truth_classes(names, headers[Modality.RGB], stamp_ns)
            writer.write_truth(truth, headers[Modality.RGB], stamp_ns)
    write_rig_file(out, dataset.registration)
    return len(dataset)


def compressed_format(path: Path, modality: Modality) -> str:
    """Return the ``format`` of a compressed image message for an image file.

    Raises:
        DatasetError: If the image cannot be decoded.
    """
    pixels = decode_image_file(path, modality)
    is_jpeg = image_format(path) == 'jpeg'
    if modality is Modality.RGB:
        return f'rgb8; {"jpeg" if is_jpeg else "png"} compressed bgr8'
    depth = 'mono16' if pixels.dtype.itemsize == 2 else 'mono8'
    return f'{depth}; {"jpeg" if is_jpeg else "png"} compressed '


def write_rig_file(bag: Path, registration: RegistrationConfig) -> None:
    """Write the parameters of the cameras beside a bag; nothing when they see the same view."""
    if registration == RegistrationConfig():
        return
    numbers = ', '.join(yaml_float(x) for x in registration.homography_thermal_to_rgb)
    (bag / RIG_FILE).write_text(
        '# Parameters of the cameras of this bag.\n'
        '/**:\n'
        '  ros__parameters:\n'
        '    registration:\n'
        f'      method: {registration.method}\n'
        f'      homography_thermal_to_rgb: [{numbers}]\n',
        encoding='utf-8',
    )


def yaml_float(value: float) -> str:
    """Return a number that every YAML reader takes for one: YAML 1.1 reads '1e-05' as text."""
    text = repr(float(value))
    mantissa, exponent, power = text.partition('e')
    return text if '.' in mantissa else f'{mantissa}.0{exponent}{power}'
