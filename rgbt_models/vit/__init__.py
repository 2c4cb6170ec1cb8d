# SPDX-License-Identifier: Apache-2.0
"""Plain vision transformers as the encoder shared by both modalities, and their neck."""

from rgbt_models.vit.attention import BiasTableAttention, DecomposedAttention
from rgbt_models.vit.encoder import ViTEncoder
from rgbt_models.vit.positions import resize_positions
from rgbt_models.vit.pyramid import SimpleFusionPyramid
from rgbt_models.vit.siamese import SiameseViT
from rgbt_models.vit.towers import beit_base, BiasTableViT, TowerConfig, vitdet_base, WindowedViT

__all__ = [
    'BiasTableAttention',
    'BiasTableViT',
    'DecomposedAttention',
    'SiameseViT',
    'SimpleFusionPyramid',
    'TowerConfig',
    'ViTEncoder',
    'WindowedViT',
    'beit_base',
    'resize_positions',
    'vitdet_base',
]
