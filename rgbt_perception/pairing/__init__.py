# SPDX-License-Identifier: Apache-2.0
"""The pairing rules; ``rgbt_perception.sync`` chooses among them."""

from rgbt_perception.pairing.base import BasePairer
from rgbt_perception.pairing.held import HoldPairer
from rgbt_perception.pairing.nearest import Pairer

__all__ = ['BasePairer', 'HoldPairer', 'Pairer']
