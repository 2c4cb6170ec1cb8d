# SPDX-License-Identifier: Apache-2.0
"""Pairs with ground truth, from a bag or from a data set folder, behind one interface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Protocol

from rgbt_perception.bag import BagReader
from rgbt_perception.bag_messages import BagTopics
from rgbt_perception.bag_writer import RIG_FILE
from rgbt_perception.camera_model import CameraModel
from rgbt_perception.config import load_config, PerceptionConfig, RegistrationConfig
from rgbt_perception.datasets import ANNOTATIONS_FILE, load_dataset
from rgbt_perception.errors import BagError
from rgbt_perception.registration import Registration
from rgbt_perception.replay import PairStream
from rgbt_perception.truth import TruthPair
from rgbt_perception.types import Modality, Pair

# Settings of the registration that do not say where thermal lies.
CHECKS = frozenset({'max_parallax_px', 'score_every'})


class PairSource(Protocol):
    """Where pairs with ground truth come from."""

    @property
    def registration(self) -> RegistrationConfig:
        """How thermal pixels lie on RGB pixels, as the source says."""

    @property
    def cameras(self) -> Mapping[Modality, CameraModel]:
        """Camera models by camera, as far as the source has them."""

    @property
    def segmentation_classes(self) -> tuple[str, ...] | None:
        """Class names of the label maps, None when the source does not say."""

    def pairs(self) -> Iterator[TruthPair]:
        """Yield the pairs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BagSource:
    """The pairs of a bag that have both frames and ground truth.

    Attributes:
        path: Folder or file.
        config: Settings of the synchroniser and of the input.
        topics: Where images and ground truth are.
        segmentation_classes: Class names of the label maps, None when not written.
        registration: From the rig file beside the bag, identity without one.
        cameras: Models by camera, read when the registration needs them.
    """

    path: Path
    config: PerceptionConfig
    topics: BagTopics = field(default_factory=BagTopics)
    segmentation_classes: tuple[str, ...] | None = None
    registration: RegistrationConfig = field(default_factory=RegistrationConfig)
    cameras: Mapping[Modality, CameraModel] = field(default_factory=dict)

    def pairs(self) -> Iterator[TruthPair]:
        """Yield the pairs; the name is the stamp of the RGB frame.

        Raises:
            BagError: If the bag is damaged, lacks a topic, or no pair has ground truth.
        """
        max_pixels = self.config.input.max_pixels
        with BagReader(self.path, topics=self.topics, max_pixels=max_pixels) as reader:
            truths = reader.truth()
            if not truths:
                raise BagError(
                    f"bag '{self.path}' has no ground truth on '{self.topics.truth_detections}'; "
                    f'expected vision_msgs/Detection2DArray with the stamps of the RGB frames; '
                    f'use rgbt replay, or add ground truth'
                )
            num_pairs = 0
            for _, pair in PairStream(reader, self.config):
                truth = truths.get(pair.rgb.stamp_ns) if pair.rgb is not None else None
                if truth is not None and pair.thermal is not None:
                    num_pairs += 1
                    yield TruthPair(name=f'{pair.reference.stamp_ns}', pair=pair, truth=truth)
        if not num_pairs:
            raise BagError(
                f"no pair of bag '{self.path}' has ground truth ({len(truths)} ground truth "
                f'stamps); expected them to equal the stamps of RGB frames; write the bag again'
            )

    def plain_pairs(self) -> Iterator[Pair]:
        """Yield all pairs of both cameras, also those without ground truth.

        Raises:
            BagError: If the bag is damaged or lacks a topic.
        """
        max_pixels = self.config.input.max_pixels
        with BagReader(self.path, topics=self.topics, max_pixels=max_pixels) as reader:
            for _, pair in PairStream(reader, self.config):
                if pair.rgb is not None and pair.thermal is not None:
                    yield pair


def open_source(
    path: Path, config: PerceptionConfig, topics: BagTopics | None = None
) -> PairSource:
    """Open a data set folder (it holds ``annotations.json``) or a bag.

    Raises:
        BagError: If it is a bag that cannot be read.
        ConfigError: If the registration cannot be used, or a camera_info it needs.
        DatasetError: If it is a data set that cannot be read.
    """
    if (path / ANNOTATIONS_FILE).is_file():
        return load_dataset(path)
    if path.is_dir() and not list(path.glob('metadata.yaml')) and not list(path.glob('*.mcap')):
        raise BagError(
            f"'{path}' holds neither {ANNOTATIONS_FILE} nor metadata.yaml; expected a data set "
            f'folder or a rosbag2 folder; check the path'
        )
    with BagReader(path, topics=topics) as reader:
        classes = reader.segmentation_classes()
        rig = load_rig(path)
        registration = Registration(with_registration(config, rig).registration)
        cameras = reader.camera_models() if registration.needs_cameras else {}
    return BagSource(
        path=path,
        config=config,
        topics=topics or BagTopics(),
        segmentation_classes=classes,
        registration=rig,
        cameras=cameras,
    )


def plain_pairs(source: PairSource) -> Iterator[Pair]:
    """Yield the pairs of a source without their ground truth, which a bag need not have."""
    if isinstance(source, BagSource):
        return source.plain_pairs()
    return (item.pair for item in source.pairs())


def rig_file(bag: Path) -> Path:
    """Return where the rig file of a bag lies when it has one."""
    return (bag if bag.is_dir() else bag.parent) / RIG_FILE


def load_rig(bag: Path) -> RegistrationConfig:
    """Return the registration written beside a bag, identity when there is none.

    Raises:
        ConfigError: If the file is malformed.
    """
    path = rig_file(bag)
    return load_config(path).registration if path.is_file() else RegistrationConfig()


def with_registration(
    config: PerceptionConfig, registration: RegistrationConfig
) -> PerceptionConfig:
    """Return settings with the registration of the source, unless the settings have their own.

    What only checks the registration (``CHECKS``) is no registration: it is taken over from the
    settings where they have their own.
    """
    default = RegistrationConfig()
    own = {
        item.name: getattr(config.registration, item.name)
        for item in fields(RegistrationConfig)
        if getattr(config.registration, item.name) != getattr(default, item.name)
    }
    if not CHECKS.issuperset(own):
        return config
    return replace(config, registration=replace(registration, **own))
