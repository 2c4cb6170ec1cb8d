# SPDX-License-Identifier: Apache-2.0
"""Calibration boards: where their points are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rgbt_perception.errors import ConfigError

Matrix = NDArray[np.float64]

PATTERNS = ('charuco', 'circles', 'asymmetric_circles', 'chessboard')
DEFAULT_DICTIONARY = '5X5_250'
MARKER_SHARE = 0.75  # side of a marker over side of a square
MIN_POINTS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPattern:
    """A flat board.

    Attributes:
        kind: 'charuco', 'circles', 'asymmetric_circles' or 'chessboard'.
        rows: charuco: squares from top to bottom. chessboard: inner corners. circles: circles;
            asymmetric_circles: rows of circles, every second one shifted by half a step.
        columns: The same from left to right; asymmetric_circles: circles per row.
        square_m: charuco and chessboard: side of a square. circles: distance between
            neighbours. asymmetric_circles: distance between rows, which is half the distance
            between the circles of a row. Metres.
        marker_m: charuco: side of a marker, m; 0 = three quarters of a square.
        dictionary: charuco: ArUco dictionary without the DICT prefix, e.g. '5X5_250'.
    """

    kind: str
    rows: int
    columns: int
    square_m: float
    marker_m: float = 0.0
    dictionary: str = DEFAULT_DICTIONARY

    def __post_init__(self) -> None:
        """Check that such a board exists.

        Raises:
            ConfigError: If a value is out of range or unknown.
        """
        if self.kind not in PATTERNS:
            raise ConfigError(
                f"pattern is '{self.kind}', expected one of {', '.join(PATTERNS)}; choose one"
            )
        least = 3 if self.kind in ('charuco', 'chessboard') else 2
        if min(self.rows, self.columns) < least or self.num_points < MIN_POINTS:
            raise ConfigError(
                f'the board has {self.rows} rows and {self.columns} columns, expected at least '
                f'{least} of each and {MIN_POINTS} points; count them again'
            )
        if not 0.0 < self.square_m < 100.0:
            raise ConfigError(
                f'square_m is {self.square_m}, expected metres above 0; measure the board'
            )
        if self.kind == 'charuco':
            if not 0.0 <= self.marker_m < self.square_m:
                raise ConfigError(
                    f'marker_m is {self.marker_m}, expected 0 (three quarters of a square) or '
                    f'less than square_m {self.square_m}; measure the board'
                )
            self._check_dictionary()

    def _check_dictionary(self) -> None:
        known = sorted(
            name.removeprefix('DICT_') for name in dir(cv2.aruco) if name.startswith('DICT_')
        )
        if self.dictionary not in known:
            raise ConfigError(
                f"dictionary is '{self.dictionary}', expected one of {', '.join(known)}; use the "
                f'one that the board was printed with'
            )
        needed, held = self.rows * self.columns // 2, len(self.aruco_dictionary().bytesList)
        if held < needed:
            raise ConfigError(
                f"dictionary '{self.dictionary}' has {held} markers, expected at least {needed} "
                f'for this board; use a larger one'
            )

    @property
    def grid_hw(self) -> tuple[int, int]:
        """Rows and columns of points."""
        if self.kind == 'charuco':
            return self.rows - 1, self.columns - 1
        return self.rows, self.columns

    @property
    def num_points(self) -> int:
        """Points on the board."""
        return self.grid_hw[0] * self.grid_hw[1]

    @property
    def has_circles(self) -> bool:
        """True when the points are centres of circles."""
        return self.kind in ('circles', 'asymmetric_circles')

    @property
    def marker_side_m(self) -> float:
        """Side of a ChArUco marker, m."""
        return self.marker_m or MARKER_SHARE * self.square_m

    def points(self) -> Matrix:
        """Return the points row by row, shape (n, 3), metres; z = 0, the first at the origin."""
        rows, columns = self.grid_hw
        row, column = np.mgrid[0:rows, 0:columns]
        x = 2 * column + row % 2 if self.kind == 'asymmetric_circles' else column
        grid = np.stack([x, row, np.zeros_like(row)], axis=-1).reshape(-1, 3)
        return np.asarray(grid * self.square_m, np.float64)

    def orders(self) -> tuple[NDArray[np.intp], ...]:
        """Return the orders in which a detector that knows no ids may list the points.

        The plain order comes first; then the board turned by half and, when it has as many rows
        as columns, by quarters.
        """
        index = np.arange(self.num_points).reshape(self.grid_hw)
        turns = [index, np.rot90(index, 2)]
        if self.kind == 'asymmetric_circles':
            # With an odd number of rows, the first and the last begin alike and end apart from
            # the others: such a board looks different upside down.
            turns = turns[: 2 - self.rows % 2]
        elif self.grid_hw[0] == self.grid_hw[1]:
            turns += [np.rot90(index, 1), np.rot90(index, 3)]
        return tuple(turn.ravel() for turn in turns)

    def aruco_dictionary(self) -> Any:
        """Return OpenCV's dictionary of markers."""
        return cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, f'DICT_{self.dictionary}'))

    def charuco_board(self) -> Any:
        """Return OpenCV's ChArUco board."""
        return cv2.aruco.CharucoBoard(
            (self.columns, self.rows), self.square_m, self.marker_side_m, self.aruco_dictionary()
        )
