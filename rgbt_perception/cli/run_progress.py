# SPDX-License-Identifier: Apache-2.0
"""The progress bar of a training run, on a terminal only; elsewhere the log tells."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from rgbt_models.train.run_log import StepReport


class RunProgress:
    """Shows the step, the losses and the rate; use it in a ``with`` statement."""

    def __init__(self, console: Console | None = None) -> None:
        """Write to ``console``, None = standard error."""
        self._console = console or Console(stderr=True)
        self._bar = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self._console,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task('step 0', total=1.0)

    @property
    def is_shown(self) -> bool:
        """Whether there is a terminal to show it on."""
        return self._console.is_terminal

    def __enter__(self) -> RunProgress:
        """Begin; the bar appears with the first step, which only the first process reports."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the terminal."""
        self._bar.stop()

    def show(self, report: StepReport) -> None:
        """Show a step."""
        self._bar.start()
        self._bar.update(self._task, completed=report.progress, description=describe_step(report))


def describe_step(report: StepReport) -> str:
    """Return one line: step, pairs per second and the losses."""
    losses = '  '.join(f'{name} {value:.3f}' for name, value in report.losses.items())
    return f'step {report.step}  {report.samples_per_s:.1f} pairs/s  {losses}'
