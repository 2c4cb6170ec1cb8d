# SPDX-License-Identifier: Apache-2.0
"""Metrics that need no model: arrays in, numbers out."""

from rgbt_models.metrics.label_maps import LabelMapScorer
from rgbt_models.metrics.matching import (
    corner_error,
    error_auc,
    matching_precision,
    MatchingScorer,
)
from rgbt_models.metrics.miss_rate import (
    log_average_miss_rate,
    MISS_RATE_SETTINGS,
    MissRateScorer,
    MissRateSetting,
    PedestrianTruth,
)
from rgbt_models.metrics.saliency import SaliencyMetrics, SaliencyScorer
from rgbt_models.metrics.table import build_table, VARIANTS

__all__ = [
    'MISS_RATE_SETTINGS',
    'VARIANTS',
    'LabelMapScorer',
    'MatchingScorer',
    'MissRateScorer',
    'MissRateSetting',
    'PedestrianTruth',
    'SaliencyMetrics',
    'SaliencyScorer',
    'build_table',
    'corner_error',
    'error_auc',
    'log_average_miss_rate',
    'matching_precision',
]
