# SPDX-License-Identifier: Apache-2.0
"""A synthetic drive as a bag: two cameras, ground truth, and a failure of each camera on the way.

The world comes from ``rgbt_models.synthetic``; what is added here is what cameras on a vehicle do:
compression, transport delays, unequal stamps, a thermal camera that drops out by day, and an RGB
camera whose lens is covered towards the night.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from rgbt_perception.bag_messages import Header
from rgbt_perception.bag_writer import BagWriter
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import RegistrationConfig
from rgbt_perception.convert import FIRST_STAMP_NS, FRAME_IDS, write_rig_file
from rgbt_perception.truth import encode_label_map, Truth
from rgbt_perception.types import ByteArray, Modality, NS_PER_S

if TYPE_CHECKING:
    from rgbt_models.synthetic import DriveInstant, Rig, SyntheticPair

THERMAL_SCALE = 0.5
JPEG_QUALITY = 85
# Shares of the drive. Day lasts for about its first half.
THERMAL_GAP = (0.125, 0.258)
RGB_COVERED = (0.583, 0.717)
COVERED_LEVEL, COVERED_NOISE = 2.0, 1.2
# Thermal stamps: how much later than RGB, and how much they scatter.
THERMAL_SKEW_NS, THERMAL_JITTER_NS = 4_000_000, 2_000_000
TRANSPORT_NS = {Modality.RGB: 25_000_000, Modality.THERMAL: 12_000_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class DriveConfig:
    """A drive to write.

    Attributes:
        seed: The same settings give the same images.
        duration_s: Length of the drive.
        rate_hz: Pairs per second.
        scale: Size of both images as a fraction of 640x480 RGB and 320x256 thermal.
        has_failures: Whether the cameras fail on the way.
        has_camera_info: Whether the bag also holds the model of each camera beside its images.
    """

    seed: int = 0
    duration_s: float = 24.0
    rate_hz: float = 5.0
    scale: float = 1.0
    has_failures: bool = True
    has_camera_info: bool = False

    @property
    def num_instants(self) -> int:
        """Number of instants of the drive."""
        return round(self.duration_s * self.rate_hz)


def write_drive(config: DriveConfig, out: Path) -> Iterator[int]:
    """Write the bag of a drive, with ``rig.param.yaml`` beside it.

    Args:
        config: The drive.
        out: Folder of the bag, to be created.

    Yields:
        The number of instants written, after each.

    Raises:
        BagError: If ``out`` exists.
    """
    from rgbt_models.synthetic import Label, render_drive

    rig = drive_rig(config.scale)
    cameras = rig_cameras(rig) if config.has_camera_info else {}
    rng = np.random.default_rng([config.seed, 3])
    names = tuple(label.name.lower() for label in Label)
    instants = render_drive(
        config.seed, duration_s=config.duration_s, rate_hz=config.rate_hz, rig=rig
    )
    with BagWriter(out) as writer:
        for index, instant in enumerate(instants):
            if index == 0:
                header = Header(stamp_ns=FIRST_STAMP_NS, frame_id=FRAME_IDS[Modality.RGB])
                writer.write_truth_classes(names, header, FIRST_STAMP_NS)
            headers = _write_instant(writer, instant, config, rng)
            for modality, header in headers.items():
                if modality in cameras:
                    log_ns = header.stamp_ns + TRANSPORT_NS[modality]
                    writer.write_camera_info(modality, cameras[modality], header, log_ns)
            yield index + 1
    homography = tuple(float(x) for x in rig.homography_thermal_to_rgb().ravel())
    registration = RegistrationConfig(method='homography', homography_thermal_to_rgb=homography)
    write_rig_file(out, registration)


def drive_rig(scale: float = 1.0) -> Rig:
    """Return the cameras of the drive: RGB 640x480 and thermal 320x256, times ``scale``."""
    from rgbt_models.synthetic import default_rig, Rig

    rig = default_rig()
    rgb = rig.rgb if scale == 1.0 else rig.rgb.scaled(scale)
    return Rig(rgb=rgb, thermal=rig.thermal.scaled(THERMAL_SCALE * scale))


def rig_cameras(rig: Rig) -> dict[Modality, CameraModel]:
    """Return the cameras of a rig, which have no distortion."""
    return {
        modality: CameraModel(
            intrinsics=camera.intrinsics,
            distortion_model='none',
            distortion=(),
            size_hw=(camera.height, camera.width),
        )
        for modality, camera in ((Modality.RGB, rig.rgb), (Modality.THERMAL, rig.thermal))
    }


def build_truth(pair: SyntheticPair) -> Truth:
    """Return the ground truth of a synthetic pair, in RGB pixels."""
    from rgbt_models.label_sets import DETECTION_CLASSES

    objects = pair.rgb_view.objects
    return Truth(
        boxes_xyxy=objects.boxes_xyxy,
        class_names=tuple(DETECTION_CLASSES[class_id] for class_id in objects.class_ids.tolist()),
        ignore=objects.ignore,
        label_map_png=encode_label_map(pair.rgb_view.label_map),
        is_night=pair.is_night,
        sun_level=1.0 - float(pair.environment.lights),
    )


def _write_instant(
    writer: BagWriter, instant: DriveInstant, config: DriveConfig, rng: np.random.Generator
) -> dict[Modality, Header]:
    """Write the images and the truth of one instant; return the headers of the images."""
    share = instant.time_s / config.duration_s
    rgb_ns = FIRST_STAMP_NS + round(instant.time_s * NS_PER_S)
    jitter_ns = int(rng.integers(-THERMAL_JITTER_NS, THERMAL_JITTER_NS))
    thermal_ns = rgb_ns + THERMAL_SKEW_NS + jitter_ns
    rgb = instant.pair.rgb
    covered = _covered_image(rgb.shape[:2], rng)
    if config.has_failures and RGB_COVERED[0] <= share < RGB_COVERED[1]:
        rgb = covered
    rgb_header = Header(stamp_ns=rgb_ns, frame_id=FRAME_IDS[Modality.RGB])
    rgb_log_ns = rgb_ns + TRANSPORT_NS[Modality.RGB]
    writer.write_image(
        Modality.RGB, encode_rgb(rgb), 'rgb8; jpeg compressed bgr8', rgb_header, rgb_log_ns
    )
    writer.write_truth(build_truth(instant.pair), rgb_header, rgb_log_ns)
    headers = {Modality.RGB: rgb_header}
    if not (config.has_failures and THERMAL_GAP[0] <= share < THERMAL_GAP[1]):
        header = Header(stamp_ns=thermal_ns, frame_id=FRAME_IDS[Modality.THERMAL])
        writer.write_image(
            Modality.THERMAL,
            encode_thermal(instant.pair.thermal_raw),
            'mono16; png compressed ',
            header,
            thermal_ns + TRANSPORT_NS[Modality.THERMAL],
        )
        headers[Modality.THERMAL] = header
    return headers


def encode_rgb(pixels: ByteArray) -> bytes:
    """Encode an RGB image, shape (h, w, 3) uint8, as JPEG."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(data.tobytes())


def encode_thermal(counts: np.ndarray[tuple[int, ...], np.dtype[np.uint16]]) -> bytes:
    """Encode thermal counts, shape (h, w) uint16, as PNG without loss."""
    _, data = cv2.imencode('.png', counts, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return bytes(data.tobytes())


def _covered_image(size_hw: tuple[int, ...], rng: np.random.Generator) -> ByteArray:
    noise = rng.normal(COVERED_LEVEL, COVERED_NOISE, (*size_hw, 3))
    return np.clip(np.rint(noise), 0, 255).astype(np.uint8)
