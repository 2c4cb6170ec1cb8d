# SPDX-License-Identifier: Apache-2.0
"""What a trained matcher finds on a pair whose thermal image was moved by a known homography."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
import torch

from rgbt_models.heads import Matches
from rgbt_models.train.finished_run import FinishedRun, pad_to_multiple
from rgbt_models.train.matching_task import draw_homographies, MatchingModel, warp
from rgbt_models.train.pool import Sample


def draw_homography(size_hw: tuple[int, int], *, seed: tuple[int, int]) -> torch.Tensor:
    """Draw a homography as training does, (1, 3, 3); the same seed gives the same one."""
    with torch.random.fork_rng(devices=[]):
        state = np.random.SeedSequence(seed).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]) >> 1)
        drawn: torch.Tensor = draw_homographies(1, size_hw, device=torch.device('cpu'))
    return drawn


def match_moved(
    run: FinishedRun, sample: Sample, *, seed: tuple[int, int]
) -> tuple[Matches, NDArray[np.float64]]:
    """Match a registered pair after its thermal image was moved.

    Args:
        run: Of the task 'matching'.
        sample: Registered.
        seed: Of the homography.

    Returns:
        The matches inside both images, on the CPU, and the homography thermal pixel -> RGB pixel.
    """
    rgb, thermal = run.images(sample)
    height, width = sample.thermal.shape
    homography = draw_homography((height, width), seed=seed)
    moved = warp(thermal, homography.to(thermal.device))
    assert isinstance(run.model, MatchingModel)
    found = run.model.match(pad_to_multiple(rgb)[0], pad_to_multiple(moved)[0])
    limit = torch.tensor([width, height], device=rgb.device) - 0.5
    inside = (found.rgb_xy < limit).all(dim=1) & (found.thermal_xy < limit).all(dim=1)
    kept = Matches(
        rgb_xy=found.rgb_xy[inside].cpu(),
        thermal_xy=found.thermal_xy[inside].cpu(),
        scores=found.scores[inside].cpu(),
    )
    return kept, homography[0].double().numpy()
