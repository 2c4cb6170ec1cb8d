# SPDX-License-Identifier: Apache-2.0
"""Engines: what runs the network of a card."""

from rgbt_perception.engine.base import Engine, EngineState
from rgbt_perception.engine.choice import open_engine, supervise
from rgbt_perception.engine.supervised import SupervisedEngine

__all__ = ['Engine', 'EngineState', 'SupervisedEngine', 'open_engine', 'supervise']
