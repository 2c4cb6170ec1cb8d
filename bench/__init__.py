# SPDX-License-Identifier: Apache-2.0
"""Measurements of this machine: ``python -m bench``."""
