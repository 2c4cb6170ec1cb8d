# SPDX-License-Identifier: Apache-2.0
"""RGB-thermal models: encoder, fusion, heads, training and the cards that describe them.

Importing this package needs neither torch nor an engine; ``rgbt_models.build`` does.
"""

from rgbt_models.card import list_cards, load_card, ModelCard
from rgbt_models.errors import CardError, DatasetError, ExportError, RGBTError, WeightsError
from rgbt_models.normalise import ThermalNormaliser, WindowNormaliser
from rgbt_models.smoothing import SmoothedPercentileNormaliser

__all__ = [
    'CardError',
    'DatasetError',
    'ExportError',
    'ModelCard',
    'RGBTError',
    'SmoothedPercentileNormaliser',
    'ThermalNormaliser',
    'WeightsError',
    'WindowNormaliser',
    'list_cards',
    'load_card',
]
