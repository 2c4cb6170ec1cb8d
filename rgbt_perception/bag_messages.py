# SPDX-License-Identifier: Apache-2.0
"""Message types and topics of the bags this package reads and writes.

``rosbags`` brings the types of the ROS core; vision_msgs is added here from its field lists, so
that bags can be written and read on machines without vision_msgs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import importlib
from types import ModuleType
from typing import Any, TYPE_CHECKING

import numpy as np

from rgbt_perception.camera_model import CameraModel
from rgbt_perception.errors import BackendUnavailableError
from rgbt_perception.geometry import xyxy_to_cxcywh
from rgbt_perception.types import FloatArray, Frame, NS_PER_S

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
DIAGNOSTIC_ARRAY = 'diagnostic_msgs/msg/DiagnosticArray'
DETECTION_ARRAY = 'vision_msgs/msg/Detection2DArray'
LABEL_INFO = 'vision_msgs/msg/LabelInfo'

# Only names and types enter the type hash, which a test compares with the one ROS computes.
VISION_MSGS = {
    'Point2D': 'float64 x\nfloat64 y\n',
    'Pose2D': 'vision_msgs/Point2D position\nfloat64 theta\n',
    'BoundingBox2D': 'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y\n',
    'ObjectHypothesis': 'string class_id\nfloat64 score\n',
    'ObjectHypothesisWithPose': (
        'vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n'
    ),
    'Detection2D': (
        'std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n'
        'vision_msgs/BoundingBox2D bbox\nstring id\n'
    ),
    'Detection2DArray': 'std_msgs/Header header\nvision_msgs/Detection2D[] detections\n',
    'VisionClass': 'uint16 class_id\nstring class_name\n',
    'LabelInfo': (
        'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold\n'
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BagTopics:
    """Topics of a bag.

    Camera topics carry raw images, or compressed ones on ``<topic>/compressed``.
    """

    rgb: str = '/rgb/image_raw'
    thermal: str = '/thermal/image_raw'
    truth_detections: str = '/ground_truth/detections'
    truth_label_map: str = '/ground_truth/segmentation'
    truth_label_info: str = '/ground_truth/label_info'
    truth_scene: str = '/ground_truth/scene'
    truth_depth: str = '/ground_truth/depth'
    truth_instances: str = '/ground_truth/instances'
    detections: str = '/perception/detections'
    mask: str = '/perception/segmentation/mask'
    mdi: str = '/perception/mdi'
    temperatures: str = '/perception/temperatures'
    label_info: str = '/perception/label_info'


def import_rosbags(submodule: str) -> ModuleType:
    """Import a part of ``rosbags``.

    Raises:
        BackendUnavailableError: If it is not installed.
    """
    try:
        return importlib.import_module(f'rosbags.{submodule}')
    except ImportError as error:
        raise BackendUnavailableError(
            f'bags need the rosbags package, which cannot be imported ({error}): '
            f"pip install 'rgbt_perception[bags]'"
        ) from error


def build_typestore() -> Typestore:
    """Build the store of message types: those of the ROS core, and vision_msgs."""
    typesys = import_rosbags('typesys')
    store: Typestore = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
    types: dict[str, Any] = {}
    for name, text in VISION_MSGS.items():
        types.update(typesys.get_types_from_msg(text, f'vision_msgs/msg/{name}'))
    store.register({name: spec for name, spec in types.items() if name not in store.types})
    return store


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Stamp (nanoseconds) and coordinate frame of a message."""

    stamp_ns: int
    frame_id: str

    @classmethod
    def of(cls, frame: Frame) -> Header:
        """Return the header of a frame."""
        return cls(stamp_ns=frame.stamp_ns, frame_id=frame.frame_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticText:
    """One diagnostic status as plain values."""

    level: int
    name: str
    message: str
    hardware_id: str
    values: dict[str, str]


class MessageFactory:
    """Builds messages of a type store from plain values."""

    def __init__(self, store: Typestore) -> None:
        """Use the types of ``store``."""
        self._types: Any = store.types

    def header(self, header: Header) -> Any:
        """Build a std_msgs/Header."""
        seconds, nanoseconds = divmod(header.stamp_ns, NS_PER_S)
        stamp = self.build('builtin_interfaces/msg/Time', sec=seconds, nanosec=nanoseconds)
        return self.build('std_msgs/msg/Header', stamp=stamp, frame_id=header.frame_id)

    def build(self, type_name: str, **values: Any) -> Any:
        """Build a message of any type; every field must be named."""
        return self._types[type_name](**values)

    def detection_array(
        self, header: Header, boxes_xyxy: FloatArray, class_ids: Sequence[str], scores: FloatArray
    ) -> Any:
        """Build a vision_msgs/Detection2DArray: centre and size in pixels, empty track id.

        Args:
            header: Header of the image the boxes belong to; also of every detection.
            boxes_xyxy: (n, 4) float32, px, edge units.
            class_ids: Class name, or index as text, one per box.
            scores: (n,) float32 in 0..1.
        """
        message_header = self.header(header)
        boxes_cxcywh = xyxy_to_cxcywh(boxes_xyxy).tolist()
        columns = zip(boxes_cxcywh, class_ids, scores.tolist(), strict=True)
        detections = [
            self.build(
                'vision_msgs/msg/Detection2D',
                header=message_header,
                results=[self._hypothesis(class_id, score)],
                bbox=self._box(*box),
                id='',
            )
            for box, class_id, score in columns
        ]
        return self.build(DETECTION_ARRAY, header=message_header, detections=detections)

    def camera_info(self, header: Header, model: CameraModel) -> Any:
        """Build a sensor_msgs/CameraInfo without rectification."""
        projection = np.zeros((3, 4))
        projection[:, :3] = model.intrinsics
        sides = dict.fromkeys(('x_offset', 'y_offset', 'height', 'width'), 0)
        has_lens = model.distortion_model != 'none'
        return self.build(
            CAMERA_INFO,
            header=self.header(header),
            height=model.size_hw[0],
            width=model.size_hw[1],
            distortion_model=model.distortion_model if has_lens else 'plumb_bob',
            d=np.array(model.distortion if has_lens else [0.0] * 5),
            k=model.intrinsics.ravel(),
            r=np.eye(3).ravel(),
            p=projection.ravel(),
            binning_x=0,
            binning_y=0,
            roi=self.build('sensor_msgs/msg/RegionOfInterest', do_rectify=False, **sides),
        )

    def label_info(self, header: Header, names: tuple[str, ...], threshold: float) -> Any:
        """Build a vision_msgs/LabelInfo with ids 0, 1, ... for ``names``."""
        classes = [
            self.build('vision_msgs/msg/VisionClass', class_id=index, class_name=name)
            for index, name in enumerate(names)
        ]
        return self.build(
            LABEL_INFO, header=self.header(header), class_map=classes, threshold=threshold
        )

    def diagnostic_array(self, header: Header, *statuses: DiagnosticText) -> Any:
        """Build a diagnostic_msgs/DiagnosticArray."""
        messages = [self._diagnostic_status(status) for status in statuses]
        return self.build(DIAGNOSTIC_ARRAY, header=self.header(header), status=messages)

    def _diagnostic_status(self, status: DiagnosticText) -> Any:
        values = [
            self.build('diagnostic_msgs/msg/KeyValue', key=key, value=value)
            for key, value in status.values.items()
        ]
        return self.build(
            'diagnostic_msgs/msg/DiagnosticStatus',
            level=status.level,
            name=status.name,
            message=status.message,
            hardware_id=status.hardware_id,
            values=values,
        )

    def _box(self, x: float, y: float, width: float, height: float) -> Any:
        position = self.build('vision_msgs/msg/Point2D', x=x, y=y)
        pose = self.build('vision_msgs/msg/Pose2D', position=position, theta=0.0)
        return self.build(
            'vision_msgs/msg/BoundingBox2D', center=pose, size_x=width, size_y=height
        )

    def _hypothesis(self, class_id: str, score: float) -> Any:
        point = self.build('geometry_msgs/msg/Point', x=0.0, y=0.0, z=0.0)
        rotation = self.build('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0)
        pose = self.build('geometry_msgs/msg/Pose', position=point, orientation=rotation)
        return self.build(
            'vision_msgs/msg/ObjectHypothesisWithPose',
            hypothesis=self.build(
                'vision_msgs/msg/ObjectHypothesis', class_id=class_id, score=score
            ),
            pose=self.build(
                'geometry_msgs/msg/PoseWithCovariance', pose=pose, covariance=np.zeros(36)
            ),
        )


def read_detection_array(message: Any) -> tuple[FloatArray, tuple[str, ...], FloatArray]:
    """Read a vision_msgs/Detection2DArray; detections without a hypothesis are left out.

    Args:
        message: The message, of rclpy or of a bag.

    Returns:
        Boxes as corners, (n, 4) float32 px; ``class_id`` of the first hypothesis of each; its
        score, (n,) float32.
    """
    items = [item for item in message.detections if item.results]
    boxes = [item.bbox for item in items]
    centers = np.array([(box.center.position.x, box.center.position.y) for box in boxes])
    sizes = np.array([(box.size_x, box.size_y) for box in boxes])
    centers, halves = centers.reshape(-1, 2), sizes.reshape(-1, 2) / 2.0
    boxes_xyxy = np.concatenate([centers - halves, centers + halves], axis=1)
    hypotheses = [item.results[0].hypothesis for item in items]
    class_ids = tuple(item.class_id for item in hypotheses)
    scores = np.array([item.score for item in hypotheses], np.float32)
    return boxes_xyxy.astype(np.float32), class_ids, scores


def camera_info_topic(image_topic: str) -> str:
    """Return the topic of the camera_info that belongs to images: beside them, as in ROS."""
    folder = image_topic.removesuffix('/compressed').rpartition('/')[0]
    return f'{folder}/camera_info'


def find_camera_topic(topic: str, available: dict[str, str]) -> str | None:
    """Choose the image topic for a camera: the raw one, else the compressed one, else None.

    Args:
        topic: Wanted topic; with or without ``/compressed``.
        available: Type by topic.
    """
    base = topic.removesuffix('/compressed')
    candidates = (topic,) if topic != base else (base, f'{base}/compressed')
    for candidate in candidates:
        if available.get(candidate) in (IMAGE, COMPRESSED_IMAGE):
            return candidate
    return None
