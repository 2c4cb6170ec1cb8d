# SPDX-License-Identifier: Apache-2.0
"""Counts of a thermal camera in TLinear mode: 0.01 K each, 0 at absolute zero."""

COUNTS_PER_K = 100.0
ZERO_C_IN_K = 273.15
