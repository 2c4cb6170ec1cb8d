# SPDX-License-Identifier: Apache-2.0
"""The perception node with a clock on its stages, for ``bench.node_load``.

    python -m bench.node_load_node --report stages.json --ros-args ...

On SIGUSR1 it writes the processor time so far of the process and of every stage: that of the
thread the stage runs in, seconds. The engine has threads of its own and is measured alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
import functools
import json
from pathlib import Path
import signal
import sys
from time import process_time, thread_time
from typing import Any

from rgbt_perception import pipeline
from rgbt_perception.dominance_filter import DominanceFilter
from rgbt_perception.engine import stages
from rgbt_perception.health import HealthMonitor
from rgbt_perception.nodes import perception_node
from rgbt_perception.ros.cameras import Cameras
from rgbt_perception.ros.outputs import Outputs

# Where each stage is found: an object and the name of the function in it.
STAGES: dict[str, tuple[Any, str]] = {  # in the order of a pair's way
    'receive': (Cameras, '_receive'),
    'assess': (HealthMonitor, 'assess'),
    'normalise thermal': (pipeline.Pipeline, '_normalise_thermal'),
    'register': (pipeline.Pipeline, '_on_reference'),
    'build batch': (stages, 'build_batch'),
    'decode boxes': (stages, 'decode_detections'),
    'label map': (stages, 'decode_label_map'),
    'misregistration': (pipeline.Pipeline, '_measure_misregistration'),
    'dominance': (DominanceFilter, 'update'),
    'publish': (Outputs, 'publish'),
}


class StageClock:
    """Adds up processor time by stage.

    Attributes:
        total_s: Processor time so far, by stage.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self.total_s: defaultdict[str, float] = defaultdict(float)

    def watch(self, stage: str, owner: Any, name: str) -> None:
        """Put the clock around a function of a class or module."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            began_s = thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.total_s[stage] += thread_time() - began_s

        setattr(owner, name, timed)

    def write(self, report: Path) -> None:
        """Write the times so far, all at once."""
        draft = report.with_suffix('.draft')
        values = {'process_s': process_time(), 'stages_s': dict(self.total_s)}
        draft.write_text(json.dumps(values), encoding='utf-8')
        draft.replace(report)


def main() -> int:
    """Run the node until it is interrupted."""
    report = Path(sys.argv[sys.argv.index('--report') + 1])
    clock = StageClock()
    for stage, (owner, name) in STAGES.items():
        clock.watch(stage, owner, name)
    signal.signal(signal.SIGUSR1, lambda *_: clock.write(report))
    return perception_node.main([sys.argv[0], *sys.argv[3:]])


if __name__ == '__main__':
    sys.exit(main())
