# SPDX-License-Identifier: Apache-2.0
"""The progress line of the demonstration: live on a terminal, now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from rgbt_perception.demo import Progress

LINE_PERIOD_S = 2.0
BAR_WIDTH = 21
MODE_STYLES = {'fused': 'green', 'rgb_only': 'blue', 'thermal_only': 'dark_orange', 'none': 'dim'}


class ProgressLine:
    """Shows the latest state; use it in a ``with`` statement."""

    def __init__(self) -> None:
        """Write to standard error, so that standard output holds the results only."""
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=8, transient=True)
        self._printed = 0.0
        self._phase = ''

    def __enter__(self) -> ProgressLine:
        """Start the line."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the line."""
        if self._console.is_terminal:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Show a state."""
        if self._console.is_terminal:
            self._live.update(progress_text(progress))
            return
        now = time.monotonic()
        if progress.phase != self._phase or now - self._printed >= LINE_PERIOD_S:
            self._phase, self._printed = progress.phase, now
            self._console.print(progress_text(progress), soft_wrap=True)


def progress_text(progress: Progress) -> Text:
    """Return one line: phase, results, rate, latency, mode and a bar for the dominance."""
    text = Text(f'{progress.phase}', style='bold')
    result = progress.latest
    if result is None:
        return text
    text.append(f'  {progress.num_results:4d} results', style='default not bold')
    text.append(f'  {progress.rate_hz:4.1f} Hz  {result.latency_ms:6.1f} ms  ', 'default not bold')
    text.append(f'{result.mode.value:12}', MODE_STYLES[result.mode.value])
    text.append(f' thermal {mdi_bar(result.mdi)} rgb  mdi {result.mdi:+.2f}', 'default not bold')
    return text


def mdi_bar(mdi: float) -> str:
    """Draw the dominance in -1..1 as a mark on a scale; an empty scale when it is not valid."""
    cells = ['-'] * BAR_WIDTH
    cells[BAR_WIDTH // 2] = '|'
    if mdi == mdi:  # noqa: PLR0124  # not NaN
        cells[round((min(max(mdi, -1.0), 1.0) + 1.0) / 2.0 * (BAR_WIDTH - 1))] = '#'
    return ''.join(cells)
