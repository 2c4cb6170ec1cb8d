# SPDX-License-Identifier: Apache-2.0
"""Writing bags: compressed images with ground truth, and results as ROS messages."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from rgbt_perception.bag_messages import (
    BagTopics,
    build_typestore,
    camera_info_topic,
    COMPRESSED_IMAGE,
    DiagnosticText,
    Header,
    IMAGE,
    import_rosbags,
    MessageFactory,
)
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.errors import BagError
from rgbt_perception.truth import Truth
from rgbt_perception.types import ByteArray, Detections, Frame, Modality

RIG_FILE = 'rig.param.yaml'
# The bag format that rosbag2 of Jazzy and later declares.
BAG_VERSION = 9


class BagWriter:
    """A new MCAP bag; use it in a ``with`` statement."""

    def __init__(
        self, path: Path, *, topics: BagTopics | None = None, compress: bool = False
    ) -> None:
        """Remember where to write; the bag is created by the ``with`` statement.

        Args:
            path: Folder to create.
            topics: Where images, ground truth and results go; images to ``<topic>/compressed``.
            compress: Compress the file (zstd); useless for images that are JPEG or PNG already.

        Raises:
            BagError: If the path exists.
        """
        if path.exists():
            raise BagError(
                f"'{path}' exists already, expected a new folder; choose another or remove it"
            )
        self.path = path
        self._topics = topics or BagTopics()
        self._compress = compress
        self._store = build_typestore()
        self._make = MessageFactory(self._store)
        self._connections: dict[str, Any] = {}
        self._writer: Any = None

    def __enter__(self) -> BagWriter:
        """Create the bag."""
        rosbag2 = import_rosbags('rosbag2')
        writer = rosbag2.Writer(
            self.path, version=BAG_VERSION, storage_plugin=rosbag2.StoragePlugin.MCAP
        )
        if self._compress:
            writer.set_compression(rosbag2.CompressionMode.STORAGE, rosbag2.CompressionFormat.ZSTD)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        writer.open()
        self._writer = writer
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the bag."""
        self._writer.close()

    def write_image(
        self, modality: Modality, encoded: bytes, image_format: str, header: Header, log_ns: int
    ) -> None:
        """Write an image that is already JPEG or PNG.

        Args:
            modality: Which camera.
            encoded: Bytes of the file.
            image_format: As image_transport writes it, e.g. 'rgb8; jpeg compressed bgr8'.
            header: Stamp and frame of the image.
            log_ns: Time of recording, nanoseconds.
        """
        is_rgb = modality is Modality.RGB
        topic = self._topics.rgb if is_rgb else self._topics.thermal
        message = self._make.build(
            COMPRESSED_IMAGE,
            header=self._make.header(header),
            format=image_format,
            data=np.frombuffer(encoded, np.uint8),
        )
        self._write(f'{topic.removesuffix("/compressed")}/compressed', message, log_ns)

    def write_camera_info(
        self, modality: Modality, model: CameraModel, header: Header, log_ns: int
    ) -> None:
        """Write the model of a camera, beside its images.

        Args:
            modality: Which camera.
            model: For the size of its images.
            header: Stamp and frame of the image it belongs to.
            log_ns: Time of recording, nanoseconds.
        """
        is_rgb = modality is Modality.RGB
        topic = camera_info_topic(self._topics.rgb if is_rgb else self._topics.thermal)
        self._write(topic, self._make.camera_info(header, model), log_ns)

    def write_truth(self, truth: Truth, header: Header, log_ns: int) -> None:
        """Write the ground truth of one RGB frame.

        A box that is not scored has score 0, every other one has score 1.

        Args:
            truth: Boxes, label map and time of day.
            header: Header of the RGB frame.
            log_ns: Time of recording, nanoseconds.
        """
        scores = np.where(truth.ignore, 0.0, 1.0).astype(np.float32)
        message = self._make.detection_array(header, truth.boxes_xyxy, truth.class_names, scores)
        self._write(self._topics.truth_detections, message, log_ns)
        if truth.has_label_map:
            image = self._make.build(
                COMPRESSED_IMAGE,
                header=self._make.header(header),
                format='mono8; png compressed ',
                data=np.frombuffer(truth.label_map_png, np.uint8),
            )
            self._write(self._topics.truth_label_map, image, log_ns)
        if truth.is_night is not None:
            scene = self._make.diagnostic_array(header, _scene_status(truth))
            self._write(self._topics.truth_scene, scene, log_ns)

    def write_truth_image(self, kind: str, png: bytes, header: Header, log_ns: int) -> None:
        """Write further ground truth of one RGB frame, a value for each pixel.

        Args:
            kind: 'depth' or 'instances'.
            png: 16-bit grey PNG.
            header: Header of the RGB frame.
            log_ns: Time of recording, nanoseconds.
        """
        topics = {'depth': self._topics.truth_depth, 'instances': self._topics.truth_instances}
        message = self._make.build(
            COMPRESSED_IMAGE,
            header=self._make.header(header),
            format='mono16; png compressed ',
            data=np.frombuffer(png, np.uint8),
        )
        self._write(topics[kind], message, log_ns)

    def write_truth_classes(self, names: tuple[str, ...], header: Header, log_ns: int) -> None:
        """Write the class names of the ground truth label maps."""
        message = self._make.label_info(header, names, 0.0)
        self._write(self._topics.truth_label_info, message, log_ns)

    def write_label_info(self, names: tuple[str, ...], header: Header, log_ns: int) -> None:
        """Write the class names of the result masks."""
        self._write(self._topics.label_info, self._make.label_info(header, names, 0.0), log_ns)

    def write_detections(
        self, detections: Detections, class_ids: list[str], reference: Frame, log_ns: int
    ) -> None:
        """Write detections as the node publishes them.

        Args:
            detections: Boxes in reference pixels.
            class_ids: Text of ``class_id``, one per box.
            reference: Frame whose header every message carries.
            log_ns: Time of recording, nanoseconds.
        """
        message = self._make.detection_array(
            Header.of(reference), detections.boxes_xyxy, class_ids, detections.scores
        )
        self._write(self._topics.detections, message, log_ns)

    def write_mask(self, label_map: ByteArray, reference: Frame, log_ns: int) -> None:
        """Write a label map, shape (h, w) uint8, as a mono8 image."""
        message = self._make.build(
            IMAGE,
            header=self._make.header(Header.of(reference)),
            height=label_map.shape[0],
            width=label_map.shape[1],
            encoding='mono8',
            is_bigendian=0,
            step=label_map.shape[1],
            data=np.ascontiguousarray(label_map).reshape(-1),
        )
        self._write(self._topics.mask, message, log_ns)

    def write_mdi(self, status: DiagnosticText, reference: Frame, log_ns: int) -> None:
        """Write the dominance of one pair."""
        message = self._make.diagnostic_array(Header.of(reference), status)
        self._write(self._topics.mdi, message, log_ns)

    def write_temperatures(
        self, statuses: list[DiagnosticText], reference: Frame, log_ns: int
    ) -> None:
        """Write the temperatures of the detections of one pair, one status each."""
        message = self._make.diagnostic_array(Header.of(reference), *statuses)
        self._write(self._topics.temperatures, message, log_ns)

    def _write(self, topic: str, message: Any, log_ns: int) -> None:
        type_name = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, type_name, typestore=self._store
            )
        raw = self._store.serialize_cdr(message, type_name)
        self._writer.write(self._connections[topic], log_ns, raw)


def _scene_status(truth: Truth) -> DiagnosticText:
    values = {'is_night': 'true' if truth.is_night else 'false'}
    if truth.sun_level is not None:
        values['sun_level'] = f'{truth.sun_level:.4f}'
    return DiagnosticText(level=0, name='scene', message='', hardware_id='', values=values)
