# SPDX-License-Identifier: Apache-2.0
"""Engines: what runs the network of a card."""

from rgbt_perception.engine.base import Engine, EngineState, open_engine
from rgbt_perception.engine.supervised import supervise, SupervisedEngine

__all__ = ['Engine', 'EngineState', 'SupervisedEngine', 'open_engine', 'supervise']
