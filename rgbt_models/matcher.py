# SPDX-License-Identifier: Apache-2.0
"""A trained matcher, as registration uses it: two arrays in, points out.

Both images are given on one grid, roughly aligned; who calls makes that grid and brings the points
back (``rgbt calibrate scene --matcher``).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import torch

from rgbt_models.errors import DatasetError
from rgbt_models.match_geometry import PointMatches
from rgbt_models.normalise import standardise
from rgbt_models.train.finished_run import FinishedRun, load_run
from rgbt_models.train.matching_task import MatchingModel

TASK = 'matching'
FINE_ERROR_PX = 3.0
COARSE_ERROR_PX = 8.0  # half a token


class Matcher:
    """Finds the points that both images of a pair show.

    Attributes:
        size_hw: Height and width of the images that ``match`` takes, px.
        error_px: Distance up to which a match counts as right, px of those images.
    """

    def __init__(self, run: FinishedRun, model: MatchingModel) -> None:
        """Use a run of the task 'matching' at the largest of its crop sizes."""
        self._run, self._model = run, model
        self.size_hw = max(run.config.size_hws, key=lambda size_hw: size_hw[0] * size_hw[1])
        self.error_px = COARSE_ERROR_PX if model.fine is None else FINE_ERROR_PX

    def stretch(self, thermal: NDArray[np.generic]) -> NDArray[np.float32]:
        """Normalise a whole thermal image of any type, (h, w), as in training."""
        return self._run.config.thermal_normaliser(thermal)

    def match(self, rgb: NDArray[np.uint8], thermal: NDArray[np.float32]) -> PointMatches:
        """Match one pair.

        Args:
            rgb: (h, w, 3) uint8 of ``size_hw``, R, G, B order.
            thermal: (h, w) of the same size, as ``stretch`` gives it; NaN = not seen.
        """
        config = self._run.config
        rgb_input = standardise(rgb.astype(np.float32) / 255.0, config.rgb_mean, config.rgb_std)
        mean, std = (config.thermal_mean,) * 3, (config.thermal_std,) * 3
        seen = np.where(np.isnan(thermal), np.float32(config.thermal_mean), thermal)
        thermal_input = standardise(seen[..., None].repeat(3, axis=2), mean, std)
        device = self._run.device
        found = self._model.match(
            torch.from_numpy(rgb_input).to(device), torch.from_numpy(thermal_input).to(device)
        )
        return PointMatches(
            rgb_xy=found.rgb_xy.double().cpu().numpy(),
            thermal_xy=found.thermal_xy.double().cpu().numpy(),
        )


def load_matcher(run_dir: Path, *, device: str = 'cpu') -> Matcher:
    """Load the matcher of a finished run.

    Args:
        run_dir: Folder that ``rgbt train`` wrote with the task 'matching'.
        device: Of torch, 'cpu' or 'cuda:0'.

    Raises:
        DatasetError: If it is no such folder, or of another task.
        WeightsError: If the weights do not fit the settings.
    """
    run = load_run(run_dir, device=device)
    if not isinstance(run.model, MatchingModel):
        raise DatasetError(
            f"run '{run_dir}' learnt the task '{run.config.task}'; expected '{TASK}'; train one "
            f'with config/train/matching.yaml'
        )
    return Matcher(run, run.model)
