# SPDX-License-Identifier: Apache-2.0
"""Engines: what runs the network of a card."""

from rgbt_perception.engine.base import Engine, open_engine

__all__ = ['Engine', 'open_engine']
