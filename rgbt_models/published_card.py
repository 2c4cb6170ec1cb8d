# SPDX-License-Identifier: Apache-2.0
"""Card of converted weights: what the authors' models expect and give, read instead of guessed.

Differs from ``rgbt_models.card``: the published models have three means per modality, a channel
order, padding and no dominance outputs, so their card is a format of its own in the same file.
``view_as_model_card`` shows it to the runtime as a card. Needs no torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgbt_models.card import (
    CARD_FILE,
    MdiCalibration,
    ModelCard,
    PUBLISHED_ARCHITECTURES,
    PUBLISHED_FORMAT,
    WEIGHTS_FILE,
)
from rgbt_models.errors import CardError
from rgbt_models.normalise import FloatArray, ThermalNormaliser

TASKS = ('encoder', 'detection', 'segmentation', 'saliency')
CHANNEL_ORDERS = ('rgb', 'bgr')
IMAGENET_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
IMAGENET_STD = (58.395 / 255, 57.12 / 255, 57.375 / 255)
Triple = tuple[float, float, float]
# Sides of the network input: windows and pyramids need no finer steps.
SIZE_MULTIPLE = 32
# Width over height of the image that segmentation slides over, where the settings name none.
SEGMENTATION_RATIO = 4 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCard:
    """Everything needed to run converted weights as their authors do.

    Attributes:
        name: Name of the converted model.
        task: 'encoder', 'detection', 'segmentation' or 'saliency'.
        layout: Kind of checkpoint it was converted from.
        architecture: Builder of the model in ``rgbt_models``.
        input_hw: Network input (height, width), px.
        channel_order: Order in which the RGB camera's channels enter the network. The released
            segmentation feeds B, G, R with the constants of R, G, B.
        rgb_mean: Mean of the first, second and third channel fed, 0..1 units.
        rgb_std: Standard deviation of the channels fed, 0..1 units.
        thermal_mean: Mean of the three copies of the thermal channel, 0..1 units of 8 bit.
        thermal_std: Standard deviation of the three copies.
        pad_level: Grey level (8 bit) of the padding right and below; 0 where nothing is padded.
        norm_eps: Epsilon of the encoder's layer norms; told here, set by ``architecture``.
        classes: Class names, index = class id; empty for an encoder.
        weights_sha256: SHA-256 of ``model.safetensors``.
        source_file: Name of the file converted.
        source_sha256: Its SHA-256.
        licence: What is known of the weights' licence.
        folder: Where the card was loaded from; not part of the JSON.
    """

    name: str
    task: str
    layout: str
    architecture: str
    input_hw: tuple[int, int]
    channel_order: str
    rgb_mean: Triple
    rgb_std: Triple
    thermal_mean: Triple
    thermal_std: Triple
    pad_level: int
    norm_eps: float
    classes: tuple[str, ...]
    weights_sha256: str
    source_file: str
    source_sha256: str
    licence: str
    folder: Path = Path()

    def __post_init__(self) -> None:
        """Check the choices and the normalisation.

        Raises:
            CardError: If one cannot be used.
        """
        for field_name, value, choices in (
            ('task', self.task, TASKS),
            ('channel_order', self.channel_order, CHANNEL_ORDERS),
        ):
            if value not in choices:
                raise CardError(
                    f"card '{self.name}' has {field_name} '{value}'; expected one of "
                    f'{", ".join(choices)}; convert the checkpoint again'
                )
        triples = (self.rgb_mean, self.rgb_std, self.thermal_mean, self.thermal_std)
        stds = (*self.rgb_std, *self.thermal_std)
        if any(len(triple) != 3 for triple in triples) or not all(std > 0 for std in stds):
            raise CardError(
                f"card '{self.name}' has means and deviations {triples}; expected three values "
                f'each and deviations above 0; convert the checkpoint again'
            )

    @property
    def weights_path(self) -> Path:
        """Path of the safetensors file."""
        return self.folder / WEIGHTS_FILE

    def to_json(self) -> str:
        """Return the card as JSON text, keys in field order, ending with a newline."""
        values = {'format': PUBLISHED_FORMAT, **asdict(self)}
        del values['folder']
        return json.dumps(values, indent=2, ensure_ascii=False) + '\n'


def load_published_card(folder: Path) -> PublishedCard:
    """Read the card of converted weights.

    Raises:
        CardError: If the folder has none, or it is malformed.
    """
    path = folder.expanduser().resolve() / CARD_FILE
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise CardError(
            f"cannot read card '{path}' ({error}); expected the folder that rgbt convert "
            f'checkpoint wrote; convert the checkpoint again'
        ) from error
    found = values.pop('format', None) if isinstance(values, dict) else None
    if found != PUBLISHED_FORMAT:
        raise CardError(
            f"card '{path}' has format {found!r}; expected '{PUBLISHED_FORMAT}'; give a folder "
            f'that rgbt convert checkpoint wrote'
        )
    names = {item.name for item in fields(PublishedCard)} - {'folder'}
    if set(values) != names:
        raise CardError(
            f"card '{path}' has unknown keys {sorted(set(values) - names)} and lacks "
            f'{sorted(names - set(values))}; expected exactly the fields of PublishedCard; '
            f'convert the checkpoint again'
        )
    return _build_card(values, path)


def _build_card(values: dict[str, Any], path: Path) -> PublishedCard:
    lists = {name: value for name, value in values.items() if isinstance(value, list)}
    tuples = {name: tuple(value) for name, value in lists.items()}
    try:
        return PublishedCard(**{**values, **tuples, 'folder': path.parent})
    except TypeError as error:
        raise CardError(
            f"card '{path}' is malformed ({error}); expected the types of PublishedCard; "
            f'convert the checkpoint again'
        ) from error


class ReleasedThermalNormaliser(ThermalNormaliser):
    """What the published models see of a thermal image: 8 bit as it is, others stretched.

    The release reads 8-bit files and divides by 255. Nothing is said there of other images; they
    get the percentile stretch, clipped to the same range.
    """

    __slots__ = ()

    def __call__(self, thermal: NDArray[np.generic]) -> FloatArray:
        """Map an image (h, w) of any real dtype to (h, w) float32 in 0..1."""
        if thermal.dtype == np.uint8:
            scaled: FloatArray = np.asarray(thermal, np.float32) / np.float32(255.0)
            return scaled
        return super().__call__(thermal)


def view_as_model_card(card: PublishedCard) -> ModelCard:
    """Show a published card to the runtime.

    The runtime's own standardisation only subtracts the grey level of the padding, so that what
    it leaves 0 has that level; ``published.runtime`` does the rest by the published card, with
    three means per modality and the channel order. There are no shares, so no calibration.

    Args:
        card: Of task detection, segmentation or saliency.

    Raises:
        CardError: If it is of an encoder, or of an architecture that does not run.
    """
    if card.task == 'encoder':
        raise CardError(
            f"card '{card.name}' is of a pretrained encoder, which gives neither boxes nor "
            f'labels; expected a card of task detection, segmentation or saliency; convert a '
            f'finished model (load_encoder of rgbt_models.published reads this one)'
        )
    if card.architecture not in PUBLISHED_ARCHITECTURES:
        raise CardError(
            f"card '{card.name}' has architecture '{card.architecture}'; expected one of "
            f'{", ".join(PUBLISHED_ARCHITECTURES)}; convert the checkpoint again'
        )
    grey = card.pad_level / 255
    is_detector = card.task == 'detection'
    return ModelCard(
        name=card.name,
        version=card.source_sha256[:8],
        architecture=card.architecture,
        input_hw=card.input_hw if is_detector else _wide_input(card.input_hw[0]),
        size_multiple=SIZE_MULTIPLE,
        rgb_mean=(grey, grey, grey),
        rgb_std=(1.0, 1.0, 1.0),
        thermal_mean=grey,
        thermal_std=1.0,
        thermal_normaliser=ReleasedThermalNormaliser(min_value=0.0, max_value=1.0),
        detection_classes=card.classes if is_detector else (),
        segmentation_classes=() if is_detector else card.classes,
        mdi_calibration=MdiCalibration(weights=(), bias=0.0),
        weights_sha256=card.weights_sha256,
        graph_sha256='',
        licence=card.licence,
        training_data=f"trained by its authors, converted from '{card.source_file}'",
        synthetic_only=False,
        folder=card.folder,
    )


def _wide_input(window: int) -> tuple[int, int]:
    columns = round(window * SEGMENTATION_RATIO / SIZE_MULTIPLE)
    return window, columns * SIZE_MULTIPLE
