# SPDX-License-Identifier: Apache-2.0
"""TensorRT engine, for NVIDIA GPUs and Jetson: TensorRT 8.6 to 11.

Contract-tested: every call is checked against NVIDIA's bindings 8.6, 10.3, 10.16 and 11.4, and
the code runs over stand-ins made from them. It was never executed with TensorRT itself.
"""

from __future__ import annotations

from rgbt_models.card import INPUT_NAMES, ModelCard
from rgbt_perception.config import EngineConfig
from rgbt_perception.engine.base import collect_outputs, EngineState
from rgbt_perception.engine.tensorrt_network import TensorrtNetwork
from rgbt_perception.engine.tensorrt_plan import (
    import_tensorrt,
    needs_build,
    open_device,
    PlanLoader,
)
from rgbt_perception.types import Batch, RawOutputs

__all__ = ['TensorrtEngine', 'needs_build']


class TensorrtEngine:
    """Runs the card's graph as a plan that was built on this GPU; see ``Engine``.

    A plan takes one size of input. That for the card's size is loaded, or built, at once; a batch
    of another size closes it and loads, or builds, that for its own.
    """

    backend = 'tensorrt'

    def __init__(self, card: ModelCard, config: EngineConfig) -> None:
        """Load the plan for the card's input size; building it takes minutes.

        Raises:
            BackendUnavailableError: If tensorrt or cuda-python is not installed.
            ConfigError: If the device is no GPU, or the card has no graph for the precision.
            WeightsError: If the graph must be built, and is missing or altered.
            EngineError: If the GPU is not there, or TensorRT cannot build or load the graph.
        """
        self._trt = import_tensorrt()
        self._device = open_device(config)
        self._loader = PlanLoader(self._trt, card, config, self._device)
        self._uses_cuda_graph = config.cuda_graph
        self._network: TensorrtNetwork | None = None
        try:
            self._open_network(card.input_hw)
        except BaseException:
            self.close()
            raise
        self.device = self._device.name
        self.precision = self._loader.graph.precision
        self.state = EngineState()

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network on one batch; see ``Engine.run``."""
        self._device.activate()
        height, width = batch.rgb.shape[2:]
        if self._network is None or self._network.input_hw != (height, width):
            self._open_network((height, width))
        assert self._network is not None
        return collect_outputs(
            self._network.run({name: getattr(batch, name) for name in INPUT_NAMES})
        )

    def close(self) -> None:
        """Release the network, its memory and the stream."""
        self._close_network()
        self._loader.close()
        self._device.close()

    def _open_network(self, input_hw: tuple[int, int]) -> None:
        self._close_network()
        self._network = TensorrtNetwork(
            self._trt,
            self._loader.load(input_hw),
            self._device,
            input_hw=input_hw,
            graph_path=self._loader.graph.path,
            uses_cuda_graph=self._uses_cuda_graph,
        )

    def _close_network(self) -> None:
        if self._network is not None:
            self._network.close()
            self._network = None
