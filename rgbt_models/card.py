# SPDX-License-Identifier: Apache-2.0
"""The model card: the one contract between training and robot.

A card names the architecture, the files and their hashes, the input size, the normalisation of
each modality, the classes, where the training data came from and what was measured. Every stage
reads these from the card and never guesses. Needs neither torch nor an engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from rgbt_models.errors import CardError, WeightsError
from rgbt_models.graph_variant import Graph, GraphVariant
from rgbt_models.normalise import ThermalNormaliser

CARD_FORMAT = 1
# Format of converted weights of other authors; see ``published_card``.
PUBLISHED_FORMAT = 'published-1'
PUBLISHED_ARCHITECTURES = ('vitdet_mask_rcnn', 'vit_upernet')
CARDS_DIR = Path(__file__).parent / 'cards'
CARD_FILE = 'card.json'
WEIGHTS_FILE = 'model.safetensors'
GRAPH_FILE = 'model.onnx'
# Names of the network's inputs and outputs, in torch and in the exported graph.
INPUT_NAMES = ('rgb', 'thermal', 'available')
OUTPUT_NAMES = (
    'class_logits',
    'boxes_xyxy',
    'segmentation_logits',
    'share_map',
    'rgb_shares',
    'entropies',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MdiCalibration:
    """Map from the raw fusion shares to the calibrated modality dominance index.

    ``mdi = tanh(bias + sum(weights * (rgb_shares - 0.5)))``. The raw shares span only a few
    hundredths; the map is fitted on clean and degraded pairs. Source: ours, on MDACL's idea.

    Attributes:
        weights: One per fusion level, finest first; empty for a model that gives no shares.
        bias: Value inside tanh for shares of exactly one half.
    """

    weights: tuple[float, ...]
    bias: float

    def __call__(self, rgb_shares: Sequence[float]) -> float:
        """Return the dominance index in [-1, 1] of raw shares, one per level.

        NaN if a share is, and for a model without levels, which gives no shares.
        """
        if not self.weights:
            return math.nan
        levels = zip(self.weights, rgb_shares, strict=True)
        return math.tanh(
            self.bias + sum(weight * (float(share) - 0.5) for weight, share in levels)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Everything a stage must know about one model.

    Attributes:
        name: Name of the model, also of its folder below ``rgbt_models/cards``.
        version: Version of the weights, e.g. '1'.
        architecture: Name of the builder in ``rgbt_models.build``.
        input_hw: Preferred network input (height, width), px, multiples of ``size_multiple``.
        size_multiple: Every network input side is a multiple of this.
        rgb_mean: Mean of R, G, B in 0..1 units.
        rgb_std: Standard deviation of R, G, B in 0..1 units.
        thermal_mean: Mean of the normalised thermal image.
        thermal_std: Standard deviation of the normalised thermal image.
        thermal_normaliser: Stretch applied before mean and std.
        detection_classes: Class names, index = class id of a detection; empty for a model that
            detects nothing.
        segmentation_classes: Class names, index = class id in the label map; empty for a model
            that labels nothing. One of both is given.
        mdi_calibration: Map from raw shares to the dominance index.
        weights_sha256: SHA-256 of ``model.safetensors``.
        graph_sha256: SHA-256 of ``model.onnx``; '' for a published model, which has none.
        licence: SPDX identifier of the weights' licence.
        training_data: One sentence naming the training data.
        synthetic_only: True when no real image was used in training.
        training: What was run: settings, steps, samples, seconds, parity, calibration.
        metrics: Measured metrics with their conditions.
        variants: Further graphs, at most one for each target and precision; left out of the JSON
            when there are none.
        folder: Where the card was loaded from; not part of the JSON.
    """

    name: str
    version: str
    architecture: str
    input_hw: tuple[int, int]
    size_multiple: int
    rgb_mean: tuple[float, float, float]
    rgb_std: tuple[float, float, float]
    thermal_mean: float
    thermal_std: float
    thermal_normaliser: ThermalNormaliser
    detection_classes: tuple[str, ...]
    segmentation_classes: tuple[str, ...]
    mdi_calibration: MdiCalibration
    weights_sha256: str
    graph_sha256: str
    licence: str
    training_data: str
    synthetic_only: bool
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    variants: tuple[GraphVariant, ...] = ()
    folder: Path = Path()

    def __post_init__(self) -> None:
        """Check that the input size, the normalisation, classes and variants can be used.

        Raises:
            CardError: If an input side is not a positive multiple of ``size_multiple``, a mean or
                standard deviation cannot be applied, class names repeat, or two variants are for
                the same target and precision.
        """
        if self.size_multiple <= 0:
            raise CardError(
                f"card '{self.name}' has size_multiple {self.size_multiple}; expected a positive "
                f'number of pixels; correct size_multiple in {CARD_FILE}'
            )
        if len(self.input_hw) != 2 or any(
            side <= 0 or side % self.size_multiple for side in self.input_hw
        ):
            raise CardError(
                f"card '{self.name}' has input_hw {self.input_hw}; expected two positive "
                f'multiples of {self.size_multiple}; correct input_hw in {CARD_FILE}'
            )
        stds = (*self.rgb_std, self.thermal_std)
        if len(self.rgb_mean) != 3 or len(self.rgb_std) != 3 or not all(std > 0 for std in stds):
            raise CardError(
                f"card '{self.name}' has rgb_mean {self.rgb_mean}, rgb_std {self.rgb_std} and "
                f'thermal_std {self.thermal_std}; expected three values for RGB and standard '
                f'deviations above 0; correct them in {CARD_FILE}'
            )
        kinds = (self.detection_classes, self.segmentation_classes)
        if not any(kinds) or any(len(set(names)) != len(names) for names in kinds):
            raise CardError(
                f"card '{self.name}' has the detection classes {kinds[0]} and the segmentation "
                f'classes {kinds[1]}; expected one or more names in one of them, each once; '
                f'correct the classes in {CARD_FILE}'
            )
        keys = [(variant.target, variant.precision) for variant in self.variants]
        if len(set(keys)) != len(keys):
            raise CardError(
                f"card '{self.name}' has variants for {keys}; expected at most one for each "
                f'target and precision; remove the others from {CARD_FILE}'
            )

    @property
    def weights_path(self) -> Path:
        """Path of the safetensors file."""
        return self.folder / WEIGHTS_FILE

    @property
    def graph_path(self) -> Path:
        """Path of the ONNX file."""
        return self.folder / GRAPH_FILE

    @property
    def is_published(self) -> bool:
        """Whether this is a view of another format: converted weights of other authors."""
        return self.architecture in PUBLISHED_ARCHITECTURES

    def find_graph(self, target: str, precision: str) -> Graph | None:
        """Return the graph for a runtime in a precision, None when none takes ``input_hw``.

        Args:
            target: 'onnx', 'openvino' or 'tensorrt'.
            precision: 'fp32', 'fp16' or 'int8'. ``model.onnx`` is the fp32 graph of every target
                that has no fp32 variant of its own; the other precisions are never stood in for.
        """
        for variant in self.variants:
            key = (variant.target, variant.precision)
            if key == (target, precision) and variant.takes(self.input_hw):
                return Graph(
                    path=self.folder / variant.file, sha256=variant.sha256, precision=precision
                )
        if precision == 'fp32' and self.graph_sha256:
            return Graph(path=self.graph_path, sha256=self.graph_sha256, precision=precision)
        return None

    def with_variant(self, variant: GraphVariant) -> ModelCard:
        """Return the card with a variant, instead of the one for the same target and precision."""
        key = (variant.target, variant.precision)
        others = [item for item in self.variants if (item.target, item.precision) != key]
        ordered = sorted([*others, variant], key=lambda item: (item.target, item.precision))
        return replace(self, variants=tuple(ordered))

    def to_json(self) -> str:
        """Return the card as JSON text, keys in field order, ending with a newline.

        Raises:
            CardError: If this is the view of a published card, which has a format of its own.
        """
        if self.is_published:
            raise CardError(
                f"card '{self.name}' is of a published model; expected a card of format "
                f'{CARD_FORMAT} to write; write its PublishedCard instead'
            )
        values = {'format': CARD_FORMAT, **asdict(self)}
        del values['folder'], values['variants']
        if self.variants:  # left out otherwise, as older versions read it
            values['variants'] = [variant.to_json() for variant in self.variants]
        return json.dumps(values, indent=2, ensure_ascii=False) + '\n'


def load_card(name_or_path: str | Path) -> ModelCard:
    """Load a card by its registered name or from a folder.

    Args:
        name_or_path: Name of a folder below ``rgbt_models/cards`` ('tiny'), or a path (anything
            with a separator) to a folder holding ``card.json``, also one that ``rgbt convert
            checkpoint`` wrote.

    Returns:
        The card; ``card.folder`` is absolute. That of a converted checkpoint is a view, see
        ``published_card.view_as_model_card``.

    Raises:
        CardError: If there is no such card, it is malformed, or it is of a converted encoder.
    """
    text = str(name_or_path)
    folder = Path(text) if '/' in text or isinstance(name_or_path, Path) else CARDS_DIR / text
    path = folder.expanduser().resolve() / CARD_FILE
    if not path.is_file():
        raise CardError(
            f"no model card at '{path}'; expected one of {', '.join(list_cards()) or 'none'} or a "
            f'folder with {CARD_FILE}; check the model name, or write a path with a /: ./{text}'
        )
    return _parse_card(path)


def save_card(card: ModelCard) -> None:
    """Write a card into its folder; who reads it meanwhile finds the old or the new one.

    Raises:
        CardError: If this is the view of a published card, which has a format of its own.
    """
    draft = card.folder / f'.{CARD_FILE}.{os.getpid()}'
    try:
        draft.write_text(card.to_json(), encoding='utf-8')
        draft.replace(card.folder / CARD_FILE)
    finally:
        draft.unlink(missing_ok=True)


def list_cards() -> list[str]:
    """Return the names of the cards that ship with the package, sorted."""
    return sorted(path.parent.name for path in CARDS_DIR.glob(f'*/{CARD_FILE}'))


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file as lower-case hex."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def verify_file(path: Path, expected_sha256: str) -> None:
    """Check that a model file is there and is the one its card was written for.

    Raises:
        WeightsError: If the file is missing or its hash differs.
    """
    if not path.is_file():
        raise WeightsError(
            f"model file '{path}' is missing; expected it beside its {CARD_FILE}; reinstall the "
            f'package or restore the file'
        )
    actual = hash_file(path)
    if actual != expected_sha256:
        raise WeightsError(
            f"model file '{path}' has SHA-256 {actual[:12]}..., the card expects "
            f'{expected_sha256[:12]}...; the file was altered or belongs to another card: '
            f'reinstall the package or export the model again'
        )


def _parse_card(path: Path) -> ModelCard:
    try:
        values = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise CardError(
            f"card '{path}' is not valid JSON ({error}); expected the format of rgbt_models; "
            f'restore the file'
        ) from error
    found_format = values.pop('format', None) if isinstance(values, dict) else None
    if found_format == PUBLISHED_FORMAT:
        # Not at the top: that module builds on this one.
        from rgbt_models.published_card import load_published_card, view_as_model_card

        return view_as_model_card(load_published_card(path.parent))
    if found_format != CARD_FORMAT:
        raise CardError(
            f"card '{path}' has format {found_format!r}, this version reads {CARD_FORMAT}; "
            f'export the model again or install the matching version'
        )
    names = {item.name for item in fields(ModelCard)} - {'folder'}
    unknown = sorted(set(values) - names)
    missing = sorted(names - set(values) - {'variants'})
    if unknown or missing:
        raise CardError(
            f"card '{path}' has unknown keys {unknown} and lacks {missing}; expected exactly the "
            f'fields of ModelCard; export the model again'
        )
    try:
        return _build_card(values, path.parent)
    except (TypeError, ValueError, KeyError) as error:
        raise CardError(
            f"card '{path}' is malformed ({error}); expected the types of ModelCard; "
            f'export the model again'
        ) from error


def _build_card(values: dict[str, Any], folder: Path) -> ModelCard:
    calibration = values['mdi_calibration']
    normaliser = values['thermal_normaliser']
    lacking = sorted({item.name for item in fields(ThermalNormaliser)} - set(normaliser))
    if lacking:  # a default would be a guess
        raise CardError(f'thermal_normaliser lacks {lacking}')
    tuples = ('input_hw', 'rgb_mean', 'rgb_std', 'detection_classes', 'segmentation_classes')
    texts = [name for name in tuples if not isinstance(values[name], list)]
    if texts:  # a text would become a tuple of letters
        raise CardError(f'{texts} are not lists')
    return ModelCard(
        **{
            **values,
            **{name: tuple(values[name]) for name in tuples},
            'thermal_normaliser': ThermalNormaliser(**normaliser),
            'mdi_calibration': MdiCalibration(
                weights=tuple(calibration['weights']), bias=calibration['bias']
            ),
            'variants': tuple(map(GraphVariant.from_json, values.get('variants', ()))),
            'folder': folder,
        }
    )
