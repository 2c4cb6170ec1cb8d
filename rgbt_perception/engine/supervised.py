# SPDX-License-Identifier: Apache-2.0
"""An engine that may fail: watched, reopened, replaced by the next backend, never waited for.

What happens, in order, with ``engine.on_error`` 'fallback':

1. A failing inference costs its pair. ``engine.max_failures`` in a row, or one that hangs, and
   the same backend is opened anew.
2. It fails again before it has succeeded once: the next backend that is installed and whose file
   the card has. There the engine stays until the node is configured or activated again.
3. None is left: ``EngineGivenUpError`` for every pair, and the whole order is tried again after
   5 s, 10 s, ... up to once a minute.

With 'deactivate' and 'raise' step 1 ends in ``EngineGivenUpError``; the node does the rest.

At the very first opening, with ``engine.backend`` 'auto', what cannot be opened, or fails its
first run, is left for the next backend at once and not tried again; an altered file is not worked
around.

A better backend that must first be built is ``offer``ed: it is opened on a thread of its own while
the present one serves, and taken between two runs.

Opening, with its warm-up run, happens on a background thread. The first one is waited for; during
later ones ``run`` raises at once.
Engines that failed are closed before another is opened; one that hangs cannot be closed and is
abandoned on its thread, closed only should it come back. At most four may hang at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
import logging
from statistics import median
import time

from rgbt_perception.config import EngineConfig, OutputConfig
from rgbt_perception.engine.base import Engine, EngineState
from rgbt_perception.engine.failure import as_engine_error
from rgbt_perception.engine.first_opening import (
    Lost,
    open_first,
    OPEN_TIMEOUT_S,
    too_long_to_open,
)
from rgbt_perception.engine.stages import Images, perceive, takes_images
from rgbt_perception.engine.thread import EngineThread, Job, T
from rgbt_perception.engine.upgrade import Upgrade
from rgbt_perception.errors import EngineError, EngineGivenUpError, EngineTimeoutError
from rgbt_perception.types import Batch, Perceived, RawOutputs

# An inference may take this many times the median of the last runs before it counts as hanging,
# where engine.timeout_s is shorter: a slow model is no broken one.
SLOW_FACTOR = 3.0
NUM_TIMED_RUNS = 9
CLOSE_TIMEOUT_S = 1.0
RETRY_S, MAX_RETRY_S = 5.0, 60.0
MAX_HANGING = 4

_LOGGER = logging.getLogger(__name__)


class SupervisedEngine:
    """Runs the best engine there is; see the module for what happens when it fails.

    One thread calls ``run`` and ``restart``; ``state`` may be read and ``close`` called from any.

    Attributes:
        backend: That of the engine that runs, or ran last; so are device and precision.
        device: 'cpu' or 'cuda:N'.
        precision: 'fp32', 'bf16', 'fp16' or 'int8'.
        state: How it fares; replaced as a whole, never changed.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        backends: tuple[str, ...],
        open_backend: Callable[[str], Engine],
        warm_up: Batch | None = None,
        must_build: bool = False,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the first backend that can be and wait for it; a failure is the caller's.

        Args:
            config: Time limit, failures in a row, what to do on error; with backend 'auto' the
                next backend is tried when one cannot be opened.
            backends: What to try, in this order; at least one.
            open_backend: Opens an engine; called on a thread of its own.
            warm_up: First run of every engine, part of its opening, so that it may take as long;
                None = no such run.
            must_build: Whether the first backend must first be built, which takes minutes.
            now_s: Clock of the retries, seconds.

        Raises:
            EngineError: If the engine fails its first run, or is not open after two minutes, or
                half an hour where it must be built.
            RGBTError: Whatever ``open_backend`` raised.
        """
        self._config, self._open_backend = config, open_backend
        self._warm_up, self._now_s = warm_up, now_s
        self._index = 0
        self._is_on_trial = self._is_closed = False
        self._failures_in_row = 0
        self._runs_s: deque[float] = deque(maxlen=NUM_TIMED_RUNS)
        self._retry_wait_s, self._retry_at_s = RETRY_S, 0.0
        self._upgrade: Upgrade | None = None
        first = open_first(
            backends, self._start, tries_all=config.backend == 'auto', must_build=must_build
        )
        self._thread: EngineThread | None = first.thread
        self._backends, self._hanging = first.backends, first.hanging
        self._unopened = first.lost  # all backends of the start stand in for it
        self._lost = Lost()  # of these the first one, while another one runs
        self.state = EngineState()
        self._set(last_problem=first.lost.reason, **self._fallback())
        self._take_over(first.thread)

    def run(self, batch: Batch) -> RawOutputs:
        """Run the network on one batch.

        Raises:
            EngineTimeoutError: If the inference hangs.
            EngineGivenUpError: If no engine is left to try, or the settings say to stop.
            EngineError: If the inference fails, or an engine is being opened.
        """
        return self._run(lambda engine: engine.run(batch))

    @property
    def takes_images(self) -> bool:
        """Whether the engine that runs prepares images itself; see ``ImageEngine``."""
        engine = None if self._thread is None else self._thread.engine
        return engine is not None and takes_images(engine)

    def perceive(self, images: Images, config: OutputConfig) -> Perceived:
        """Run the network on images; an engine that came meanwhile takes them as it can.

        Raises:
            EngineError: As ``run`` does.
        """
        return self._run(lambda engine: perceive(engine, images, config))

    def _run(self, job: Job[T]) -> T:
        upgrade = self._upgrade
        if upgrade is not None:
            self._try_upgrade(upgrade)
        thread = self._open_thread()
        try:
            value = thread.run(job, self._limit_s())
        except EngineTimeoutError as error:
            self._note_timeout(thread, error)
            raise
        except Exception as error:  # whatever a runtime raises is its failure
            problem = as_engine_error(error)
            self._note_failure(thread, problem)
            if problem is error:
                raise
            raise problem from error
        self._runs_s.append(thread.run_s)
        self._failures_in_row, self._is_on_trial, self._retry_wait_s = 0, False, RETRY_S
        return value

    def restart(self) -> None:
        """Forget failures: after a fallback or a give-up the backend of the start is opened.

        What could not be opened at the start is not tried again: an engine that has run ever since
        stays.
        """
        if self.state.status == 'running' and self._index == 0:
            return
        self._drop_thread()
        self._retry_wait_s, self._index, self._is_on_trial = RETRY_S, 0, False
        if self._has_too_many_hanging():
            self._give_up()
            return
        self._set(status='reopening')
        self._reopen()

    def offer(self, backend: str) -> None:
        """Open a better backend while the present one serves, and go on with it once it is warm.

        It begins at once. If it cannot be opened, the present one stays, and ``state`` says so.
        """
        self._upgrade = Upgrade(backend, self._open_backend, self._warm_up)
        self._set(building=backend)

    def close(self) -> None:
        """Release the engine; one that does not come back within 1 s is left behind."""
        self._is_closed = True
        upgrade, self._upgrade = self._upgrade, None
        if upgrade is not None:
            upgrade.stop()
        thread, self._thread = self._thread, None
        if thread is not None and not thread.stop(CLOSE_TIMEOUT_S):
            _LOGGER.warning('the engine is still busy and could not be closed')

    def _set(self, **changes: str | int) -> None:
        self.state = replace(self.state, **changes)  # type: ignore[arg-type]  # names of fields

    def _limit_s(self) -> float:
        slow_s = SLOW_FACTOR * median(self._runs_s) if self._runs_s else 0.0
        return max(self._config.timeout_s, slow_s)

    def _start(self, backend: str) -> EngineThread:
        return EngineThread(lambda: self._open_backend(backend), warm_up=self._warm_up)

    def _reopen(self) -> None:
        self._hold(self._start(self._backends[self._index]))

    def _hold(self, thread: EngineThread) -> None:
        self._thread = thread
        if self._is_closed:  # meanwhile, by another thread that did not see this one
            thread.stop()

    def _try_upgrade(self, upgrade: Upgrade) -> None:
        try:
            thread = upgrade.take()
        except Exception as error:  # noqa: BLE001 whatever opening raised: the present one stays
            problem = str(as_engine_error(error))
            self._upgrade, self._unopened = None, Lost(upgrade.backend, problem)
            self._set(building='', last_problem=problem, **self._fallback())
            _LOGGER.warning(
                "backend '%s' cannot be opened: %s; the network stays on %s",
                upgrade.backend,
                problem,
                self.backend,
            )
            return
        if thread is None:
            return
        if self._thread is not None:
            self._abandon(self._thread)
        self._hold(thread)
        self._upgrade, self._unopened = None, Lost()
        self._backends, self._index = (upgrade.backend, *self._backends), 0
        self._is_on_trial, self._retry_wait_s = False, RETRY_S
        before = self.backend
        self._take_over(thread)
        self._set(status='running', building='', **self._fallback())
        _LOGGER.info('the network now runs on %s instead of %s', self.backend, before)

    def _open_thread(self) -> EngineThread:
        """Return the engine that runs; raise while there is none.

        Raises:
            EngineError: While an engine is being opened, also when this engine was closed.
            EngineGivenUpError: When nothing is left to try.
        """
        if self._is_closed:
            raise _closed()
        if self._thread is None and self.state.status == 'given_up':
            self._retry_if_time()
        thread = self._thread
        if thread is not None and self.state.status == 'running':
            return thread
        if thread is not None and thread.is_open:
            self._adopt(thread)
            return thread
        if thread is not None:
            self._check_opening(thread)
        if self.state.status == 'given_up':
            raise self._given_up()
        raise EngineError(
            f"backend '{self._backends[self._index]}' is being opened after: "
            f'{self.state.last_problem or "a restart"}; expected back soon; pairs are dropped '
            f'until then'
        )

    def _retry_if_time(self) -> None:
        if self._config.on_error != 'fallback' or self._now_s() < self._retry_at_s:
            return
        if self._has_too_many_hanging():
            self._give_up()
            return
        self._index, self._is_on_trial = 0, True
        self._reopen()

    def _check_opening(self, thread: EngineThread) -> None:
        """Go on with the next backend when this one cannot be opened."""
        problem = thread.problem
        if problem is None:
            if time.monotonic() - thread.started_s < OPEN_TIMEOUT_S:
                return
            problem = too_long_to_open(self._backends[self._index])
            self._abandon(thread)
        self._thread = None
        self._set(last_problem=str(as_engine_error(problem)))
        _LOGGER.warning("backend '%s' cannot be opened: %s", self._backends[self._index], problem)
        self._open_next()

    def _take_over(self, thread: EngineThread) -> None:
        engine = thread.engine
        if engine is None:  # meanwhile, by another thread
            raise _closed()
        self.backend, self.device, self.precision = engine.backend, engine.device, engine.precision
        self._failures_in_row = 0
        self._runs_s.clear()
        if thread.warm_up_s:
            self._runs_s.append(thread.warm_up_s)

    def _adopt(self, thread: EngineThread) -> None:
        self._take_over(thread)
        self._set(status='running', num_reopened=self.state.num_reopened + 1, **self._fallback())

    def _fallback(self) -> dict[str, str]:
        lost = self._lost if self._index else self._unopened
        return {'fallback_from': lost.backend, 'fallback_reason': lost.reason}

    def _note_timeout(self, thread: EngineThread, error: EngineTimeoutError) -> None:
        self._set(
            num_timeouts=self.state.num_timeouts + 1,
            num_failures=self.state.num_failures + 1,
            last_problem=str(error),
        )
        self._abandon(thread)
        self._thread = None
        self._recover(error)

    def _note_failure(self, thread: EngineThread, error: EngineError) -> None:
        self._failures_in_row += 1
        self._set(num_failures=self.state.num_failures + 1, last_problem=str(error))
        if self._failures_in_row < self._config.max_failures and not self._is_on_trial:
            return
        if not thread.stop(CLOSE_TIMEOUT_S):  # before the next one is opened: memory
            self._abandon(thread)
        self._thread = None
        self._recover(error)

    def _recover(self, error: EngineError) -> None:
        """Reopen, go on with the next backend, or give up; ``_thread`` is None now.

        Raises:
            EngineGivenUpError: If nothing is left, or the settings say to stop.
        """
        if self._is_closed:  # meanwhile, by another thread: nothing is to be opened any more
            return
        if self._is_on_trial or self._config.on_error != 'fallback':
            self._open_next()
        elif self._has_too_many_hanging():
            self._give_up()
        else:
            self._is_on_trial = True
            self._set(status='reopening')
            self._reopen()
        if self.state.status == 'given_up':
            raise self._given_up() from error

    def _open_next(self) -> None:
        self._is_on_trial = True
        is_last = self._index + 1 >= len(self._backends)
        if is_last or self._config.on_error != 'fallback' or self._has_too_many_hanging():
            self._give_up()
            return
        if not self._index:
            self._lost = Lost(self._backends[0], self.state.last_problem)
        self._index += 1
        if self.state.status != 'given_up':
            self._set(status='reopening')
        self._reopen()

    def _give_up(self) -> None:
        self._set(status='given_up')
        self._retry_at_s = self._now_s() + self._retry_wait_s
        self._retry_wait_s = min(2.0 * self._retry_wait_s, MAX_RETRY_S)

    def _given_up(self) -> EngineGivenUpError:
        names = ', '.join(self._backends)
        return EngineGivenUpError(
            f'the engine has failed for good (tried: {names}): {self.state.last_problem}; '
            f'expected one backend that works; correct this and configure the node again'
        )

    def _abandon(self, thread: EngineThread) -> None:
        thread.stop()
        self._hanging.append(thread)

    def _has_too_many_hanging(self) -> bool:
        self._hanging = [item for item in self._hanging if item.is_alive]
        return len(self._hanging) >= MAX_HANGING

    def _drop_thread(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None and not thread.stop(0.0 if not thread.is_open else CLOSE_TIMEOUT_S):
            self._abandon(thread)


def _closed() -> EngineError:
    return EngineError('the engine was closed, expected an open one; open it again')
