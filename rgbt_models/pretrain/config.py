# SPDX-License-Identifier: Apache-2.0
"""Settings of a pretraining run, read from YAML; an unknown key is an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rgbt_models.adapter_file import LoraSettings
from rgbt_models.errors import DatasetError
from rgbt_models.normalise import ThermalNormaliser
from rgbt_models.pretrain.mae import MaeConfig
from rgbt_models.pretrain.pccl import PcclConfig
from rgbt_models.train.settings import build_settings, read_settings, RunSettings

METHODS = ('mae', 'univ')


@dataclass(frozen=True, slots=True, kw_only=True)
class UnivConfig:
    """UNIV's transfer (https://arxiv.org/abs/2509.15642) of an encoder to thermal.

    Attributes:
        encoder: Name of a timm ViT.
        image_size: Pixels per side of the square input.
        is_adapted: Train a LoRA adapter instead of the whole encoder.
        adapt_rgb: Whether RGB passes through the adapter too, as in UNIV; False leaves the RGB
            path as it was, to the last bit.
        lora: Shape of the adapter.
        pccl: The losses.
    """

    encoder: str = 'vit_base_patch16_224'
    image_size: int = 224
    is_adapted: bool = True
    adapt_rgb: bool = True
    lora: LoraSettings = field(default_factory=LoraSettings)
    pccl: PcclConfig = field(default_factory=PcclConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig(RunSettings):
    """One pretraining run; how it is optimised is in the fields of ``RunSettings``.

    Attributes:
        method: 'mae' (masked autoencoding, GMM-CMSS or random) or 'univ' (PCCL).
        init_from: Safetensors with the encoder to start from, '' = random weights; 'univ' needs
            one, for its teacher is the encoder it starts from.
        batch_size: Pairs per process and batch.
        min_area: Smallest part of the image that a crop covers.
        max_area: Largest part.
        flip: Probability that both images are mirrored.
        pool_pairs: Rendered pairs in the pool.
        pool_scale: Size of the pool images as a fraction of 640x480.
        pool_seed: Seed of the first scene.
        mae: Used by the method 'mae'.
        univ: Used by the method 'univ'.
        rgb_mean: Of the input, in 0..1 units.
        rgb_std: Of the input.
        thermal_mean: Of the normalised thermal image.
        thermal_std: Of the normalised thermal image.
        thermal_normaliser: Stretch before mean and std.
    """

    method: str = 'mae'
    init_from: str = ''
    batch_size: int = 32
    min_area: float = 0.2
    max_area: float = 1.0
    flip: float = 0.5
    pool_pairs: int = 12_800
    pool_scale: float = 0.8
    pool_seed: int = 1_000_000
    mae: MaeConfig = field(default_factory=MaeConfig)
    univ: UnivConfig = field(default_factory=UnivConfig)
    rgb_mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    rgb_std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    thermal_mean: float = 0.449
    thermal_std: float = 0.226
    thermal_normaliser: ThermalNormaliser = field(default_factory=ThermalNormaliser)

    def __post_init__(self) -> None:
        """Check what would only fail deep in the run.

        Raises:
            DatasetError: If a value cannot be used.
        """
        RunSettings.__post_init__(self)  # super() does not work in a dataclass with slots
        if self.method not in METHODS:
            raise DatasetError(
                f"method is '{self.method}'; expected one of {', '.join(METHODS)}; correct the "
                f'training file'
            )
        if self.batch_size < 1:
            raise DatasetError(
                f'batch_size is {self.batch_size}; expected 1 or more; correct the training file'
            )
        if not 0.0 < self.min_area <= self.max_area <= 1.0:
            raise DatasetError(
                f'min_area and max_area are {self.min_area} and {self.max_area}; expected '
                f'0 < min_area <= max_area <= 1; correct the training file'
            )
        if self.layer_decay != 1.0:
            raise DatasetError(
                f'layer_decay is {self.layer_decay}; expected 1 in pretraining, which trains all '
                f'layers alike; leave it out'
            )
        if self.method == 'univ' and not self.init_from:
            raise DatasetError(
                "method 'univ' has no init_from; expected the encoder that is to be transferred, "
                'for it is the teacher; name its safetensors'
            )

    @property
    def image_size(self) -> int:
        """Pixels per side of the input."""
        return self.mae.image_size if self.method == 'mae' else self.univ.image_size


def load_pretrain_config(path: Path) -> PretrainConfig:
    """Read a pretraining YAML; missing keys keep their defaults.

    Raises:
        DatasetError: If the file cannot be read, a key is unknown or a value has the wrong type.
    """
    return build_pretrain_config(read_settings(path, PretrainConfig))


def build_pretrain_config(values: Any) -> PretrainConfig:
    """Build the settings from a mapping as read from YAML or JSON.

    Raises:
        DatasetError: If it is no mapping, a key is unknown or a value has the wrong type.
    """
    config: PretrainConfig = build_settings(PretrainConfig, values)
    return config
