# SPDX-License-Identifier: Apache-2.0
"""Which cameras of a pair can be relied on: there at all, not frozen, not blind.

The verdict has a memory, and the pipeline holds it, so that the node, replay and evaluation judge
alike. All times are differences of stamps.
"""

from __future__ import annotations

from rgbt_perception.blindness import (
    find_rgb_problem,
    find_thermal_problem,
    quantum_of,
    take_sample,
)
from rgbt_perception.config import FallbackConfig, ThermalConfig
from rgbt_perception.frozen import FrozenDetector
from rgbt_perception.types import Frame, Modality, Mode, NS_PER_S, Pair

_MODES = {
    (True, True): Mode.FUSED,
    (True, False): Mode.RGB_ONLY,
    (False, True): Mode.THERMAL_ONLY,
    (False, False): Mode.NONE,
}
_FROZEN_HINTS = {
    Modality.RGB: 'its driver repeats one buffer, restart it',
    Modality.THERMAL: 'wait if its shutter is closed (FFC), else restart its driver',
}


class HealthMonitor:
    """Judges the cameras pair by pair, with memory: frozen images, hysteresis.

    A camera is used when its frame is there, shows something (``blindness``) and is not the same
    image as for the last ``frozen_after_s`` (``frozen``). A blind camera is left out at once. One
    that was blind or frozen is used again when ``recover_after_s`` have passed since its last bad
    frame. One that was only missing is used again at once. Frames whose stamps run backwards (a
    bag that starts over) are judged without memory.

    Attributes:
        config: Settings; may be replaced between two calls.
        problems: Why a camera whose frames come is not used, by modality, as of its last frame;
            without entries when both are. A pair without a frame of a camera changes nothing:
            between the frames of a slow camera that is as it should be.
    """

    def __init__(self, config: FallbackConfig, thermal: ThermalConfig | None = None) -> None:
        """Start without history.

        Args:
            config: The thresholds.
            thermal: How thermal values are to be read, for the top of their range and their byte
                order; None = default settings.
        """
        self.config = config
        self.problems: dict[Modality, str] = {}
        self._thermal = thermal or ThermalConfig()
        self._cameras = {modality: _Camera(modality) for modality in Modality}

    def reset(self) -> None:
        """Forget the history."""
        self.problems = {}
        for camera in self._cameras.values():
            camera.reset()

    def assess(self, pair: Pair) -> tuple[Mode, str]:
        """Return the mode of one pair, and why a camera is not used ('' when both are)."""
        reasons, problems = {}, dict(self.problems)
        for modality, frame in ((Modality.RGB, pair.rgb), (Modality.THERMAL, pair.thermal)):
            if frame is None:
                reasons[modality] = f'no {modality.value} frame'
                continue
            problems.pop(modality, None)
            problem = self._cameras[modality].judge(frame, self.config, self._thermal)
            if problem:
                reasons[modality] = problems[modality] = problem
        self.problems = problems
        mode = _MODES[Modality.RGB not in reasons, Modality.THERMAL not in reasons]
        return mode, '; '.join(reasons.values())


class _Camera:
    """What is remembered of one camera."""

    def __init__(self, modality: Modality) -> None:
        self._modality = modality
        self._frozen = FrozenDetector()
        self.reset()

    def reset(self) -> None:
        self._frozen.reset()
        self._last_ns: int | None = None
        self._bad_ns: int | None = None  # stamp of the last bad frame, None = none to recover from
        self._cause = ''

    def judge(self, frame: Frame, config: FallbackConfig, thermal: ThermalConfig) -> str:
        """Take in a frame; return why it is not to be used, '' when it is."""
        if self._last_ns is not None and frame.stamp_ns < self._last_ns:
            self.reset()
        self._last_ns = frame.stamp_ns
        problem = self._find_problem(frame, config, thermal)
        if problem:
            self._bad_ns, self._cause = frame.stamp_ns, problem
            return problem
        if self._bad_ns is None:
            return ''
        good_s = (frame.stamp_ns - self._bad_ns) / NS_PER_S
        if good_s >= config.recover_after_s:
            self._bad_ns = None
            return ''
        return (
            f'{self._modality.value} recovers: used again after {config.recover_after_s:.2f} s, '
            f'good for {good_s:.2f} s (was: {self._cause})'
        )

    def _find_problem(self, frame: Frame, config: FallbackConfig, thermal: ThermalConfig) -> str:
        pixels, is_rgb = frame.pixels, self._modality is Modality.RGB
        sample = take_sample(pixels)
        same_s = self._frozen.update(
            sample.reshape(len(sample), -1),
            frame.stamp_ns,
            max_difference=config.frozen_difference,
            step=quantum_of(pixels),
        )
        problem = (
            find_rgb_problem(pixels, sample, config)
            if is_rgb
            else find_thermal_problem(pixels, sample, config, thermal)
        )
        if problem or not 0.0 < config.frozen_after_s <= same_s:
            return problem
        name, hint = self._modality.value, _FROZEN_HINTS[self._modality]
        return f'{name} is frozen (same image for {same_s:.2f} s): {hint}'
