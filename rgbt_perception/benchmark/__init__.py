# SPDX-License-Identifier: Apache-2.0
"""Measurements of this machine: what ``rgbt bench`` and the programs of ``bench/`` share."""
