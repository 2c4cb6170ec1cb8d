# SPDX-License-Identifier: Apache-2.0
"""Reading bags: rosbag2 folders or bare files, MCAP or sqlite3, raw or compressed images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
import logging
from pathlib import Path
import sqlite3
import struct
from types import TracebackType
from typing import Any

from rgbt_perception.bag_messages import (
    BagTopics,
    build_typestore,
    CAMERA_INFO,
    camera_info_topic,
    COMPRESSED_IMAGE,
    find_camera_topic,
    import_rosbags,
    read_detection_array,
)
from rgbt_perception.camera_model import camera_model_from_info, CameraModel
from rgbt_perception.errors import BagError, FrameError
from rgbt_perception.frames import frame_from_compressed, frame_from_image, stamp_of
from rgbt_perception.truth import Truth
from rgbt_perception.types import Frame, Modality

LOGGER = logging.getLogger(__name__)
MAX_PIXELS = 33_554_432
# What the bag parsers raise on damaged files besides the errors of rosbags itself (found by
# cutting and overwriting bags at many places).
PARSER_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    TypeError,
    ValueError,
    sqlite3.Error,
    struct.error,
)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageMessage:
    """One image message as it lies in the bag.

    Attributes:
        modality: Which camera.
        log_ns: When it was recorded, nanoseconds.
        message: A sensor_msgs Image or CompressedImage.
        is_compressed: True for CompressedImage.
    """

    modality: Modality
    log_ns: int
    message: Any
    is_compressed: bool

    @property
    def stamp_ns(self) -> int:
        """Time of the message header, nanoseconds."""
        return stamp_of(self.message.header)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LoggedFrame:
    """A frame and when it was recorded, nanoseconds."""

    frame: Frame
    log_ns: int


def decode_image_message(image: ImageMessage, *, max_pixels: int = MAX_PIXELS) -> Frame:
    """Decode the image of a bag message.

    Raises:
        FrameError: If it cannot be used.
    """
    decode = frame_from_compressed if image.is_compressed else frame_from_image
    return decode(image.message, modality=image.modality, max_pixels=max_pixels)


class BagReader:
    """An opened bag; use it in a ``with`` statement.

    Attributes:
        path: Folder or file.
        bad_frames: Images that could not be used so far, by camera.
    """

    def __init__(
        self, path: Path, *, topics: BagTopics | None = None, max_pixels: int = MAX_PIXELS
    ) -> None:
        """Remember what to read; the bag is opened by the ``with`` statement.

        Args:
            path: rosbag2 folder, or a bare ``.mcap`` or ``.db3`` file.
            topics: Where images and ground truth are.
            max_pixels: Largest accepted image, height times width.
        """
        self.path = path
        self.bad_frames: Counter[Modality] = Counter()
        self._topics = topics or BagTopics()
        self._max_pixels = max_pixels
        self._reader: Any = None
        self._reader_errors: tuple[type[BaseException], ...] = PARSER_ERRORS

    def __enter__(self) -> BagReader:
        """Open the bag.

        Raises:
            BagError: If it is missing, damaged or empty.
        """
        highlevel, rosbag2 = import_rosbags('highlevel'), import_rosbags('rosbag2')
        typesys, serde = import_rosbags('typesys'), import_rosbags('serde')
        self._reader_errors = (
            *PARSER_ERRORS,
            highlevel.AnyReaderError,
            rosbag2.ReaderError,
            serde.SerdeError,
            typesys.TypesysError,
            import_rosbags('rosbag2.reader').zstd.ZstdError,
            *_database_errors(),
        )
        self._check_path()
        try:
            self._reader = highlevel.AnyReader([self.path], default_typestore=build_typestore())
            self._reader.open()
        except self._reader_errors as error:
            raise self._damaged(error) from error
        if not self._reader.message_count:
            self.close()
            raise BagError(
                f"bag '{self.path}' holds 0 messages, expected images of both cameras; record it "
                f'again'
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bag."""
        self.close()

    def close(self) -> None:
        """Close the bag; a second call does nothing."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    @property
    def topic_types(self) -> dict[str, str]:
        """Message type by topic."""
        return {item.topic: item.msgtype for item in self._reader.connections}

    def camera_topic(self, modality: Modality) -> str:
        """Return the topic of a camera's images.

        Raises:
            BagError: If there is none.
        """
        is_rgb = modality is Modality.RGB
        wanted = self._topics.rgb if is_rgb else self._topics.thermal
        topic = find_camera_topic(wanted, self.topic_types)
        if topic is None:
            raise BagError(
                f"bag '{self.path}' has no images on '{wanted}' or "
                f"'{wanted.removesuffix('/compressed')}/compressed'; it has "
                f'{", ".join(sorted(self.topic_types))}; name the topic with '
                f'--{modality.value}-topic'
            )
        return topic

    def images(self) -> Iterator[ImageMessage]:
        """Yield the image messages of both cameras in order of their log times.

        Raises:
            BagError: If a topic is missing, or the bag is damaged.
        """
        cameras = {self.camera_topic(modality): modality for modality in Modality}
        types = self.topic_types
        for topic, log_ns, message in self.messages(*cameras):
            yield ImageMessage(
                modality=cameras[topic],
                log_ns=log_ns,
                message=message,
                is_compressed=types[topic] == COMPRESSED_IMAGE,
            )

    def frames(self) -> Iterator[LoggedFrame]:
        """Yield the frames of both cameras in order of their log times.

        Images that cannot be decoded are left out, counted in ``bad_frames`` and logged.

        Raises:
            BagError: If a topic is missing, or the bag is damaged.
        """
        for image in self.images():
            frame = self._decode(image)
            if frame is not None:
                yield LoggedFrame(frame=frame, log_ns=image.log_ns)

    def camera_models(self) -> dict[Modality, CameraModel]:
        """Read the first camera_info of each camera that has one beside its images.

        Raises:
            BagError: If the bag is damaged.
            ConfigError: If a camera_info cannot be used.
        """
        cameras = {camera_info_topic(self.camera_topic(item)): item for item in Modality}
        types = self.topic_types
        models: dict[Modality, CameraModel] = {}
        for topic, modality in cameras.items():
            if types.get(topic) != CAMERA_INFO:
                continue
            for _, _, message in self.messages(topic):
                models[modality] = camera_model_from_info(message, name=modality.value)
                break
        return models

    def truth(self) -> dict[int, Truth]:
        """Read the ground truth by the stamp of the RGB frame it belongs to.

        Returns:
            Truth by stamp, nanoseconds; empty when the bag has no ground truth detections.

        Raises:
            BagError: If the bag is damaged.
        """
        topics = self._topics
        boxes: dict[int, Any] = {}
        label_maps: dict[int, bytes] = {}
        scenes: dict[int, dict[str, str]] = {}
        wanted = (topics.truth_detections, topics.truth_label_map, topics.truth_scene)
        for topic, _, message in self.messages(*wanted):
            stamp_ns = stamp_of(message.header)
            if topic == topics.truth_detections:
                boxes[stamp_ns] = message
            elif topic == topics.truth_label_map:
                label_maps[stamp_ns] = bytes(message.data)
            else:
                values = message.status[0].values if message.status else []
                scenes[stamp_ns] = {item.key: item.value for item in values}
        return {
            stamp_ns: _build_truth(
                message, label_maps.get(stamp_ns, b''), scenes.get(stamp_ns, {})
            )
            for stamp_ns, message in boxes.items()
        }

    def segmentation_classes(self) -> tuple[str, ...] | None:
        """Return the class names of the ground truth label maps, None when not written."""
        for _, _, message in self.messages(self._topics.truth_label_info):
            return tuple(item.class_name for item in message.class_map)
        return None

    def messages(self, *topics: str) -> Iterator[tuple[str, int, Any]]:
        """Yield (topic, log time in nanoseconds, message) of the topics the bag has.

        Raises:
            BagError: If the bag is damaged, or holds fewer messages than it says.
        """
        connections = [item for item in self._reader.connections if item.topic in topics]
        if not connections:
            return
        expected = sum(item.msgcount for item in connections)
        count = 0
        messages = self._reader.messages(connections)
        while True:
            try:
                found = next(messages, None)
                if found is None:
                    break
                connection, log_ns, raw = found
                message = self._reader.deserialize(raw, connection.msgtype)
            except self._reader_errors as error:
                raise self._damaged(error, f' after {count} messages') from error
            count += 1
            yield connection.topic, log_ns, message
        if count < expected:
            raise self._damaged(f'{count} of {expected} messages found')

    def _decode(self, image: ImageMessage) -> Frame | None:
        try:
            return decode_image_message(image, max_pixels=self._max_pixels)
        except FrameError as error:
            self.bad_frames[image.modality] += 1
            name, stamp_ns = image.modality.value, image.stamp_ns
            LOGGER.warning('%s image at %d ns: %s', name, stamp_ns, error)
            return None

    def _check_path(self) -> None:
        if not self.path.exists():
            raise BagError(
                f"there is no bag at '{self.path}'; expected a rosbag2 folder or an .mcap or .db3 "
                f'file; check the path'
            )
        if self.path.is_dir() and not (self.path / 'metadata.yaml').is_file():
            files = sorted(x for x in self.path.iterdir() if x.suffix in ('.mcap', '.db3'))
            remedy = f"name the file instead: '{files[0]}'" if files else 'check the path'
            raise BagError(
                f"folder '{self.path}' has no metadata.yaml, so it is no complete bag; expected "
                f'a rosbag2 folder; {remedy}'
            )

    def _damaged(self, problem: object, where: str = '') -> BagError:
        text = str(problem) or type(problem).__name__
        return BagError(
            f"bag '{self.path}' cannot be read{where} ({text}); expected a complete rosbag2 "
            f'recording, it may be truncated or damaged; copy or record it again'
        )


def _database_errors() -> tuple[type[BaseException], ...]:
    # rosbags reads sqlite3 bags through apsw in newer versions, through sqlite3 in older ones.
    apsw = getattr(import_rosbags('rosbag2.storage_sqlite3'), 'apsw', None)
    return () if apsw is None else (apsw.Error,)


def _build_truth(message: Any, label_map_png: bytes, scene: dict[str, str]) -> Truth:
    boxes_xyxy, class_names, scores = read_detection_array(message)
    is_night, sun_level = scene.get('is_night'), scene.get('sun_level')
    return Truth(
        boxes_xyxy=boxes_xyxy,
        class_names=class_names,
        ignore=scores <= 0.0,
        label_map_png=label_map_png,
        is_night=None if is_night is None else is_night == 'true',
        sun_level=None if sun_level is None else float(sun_level),
    )
