# SPDX-License-Identifier: Apache-2.0
"""What the stamps and arrivals of one camera tell: its rhythm, its silences and its jumps."""

from __future__ import annotations

from collections import deque

from rgbt_perception.types import NS_PER_S

# Stamps further back than this are a new start (bag loop, clock reset), not a late frame.
STAMP_JUMP_NS = NS_PER_S
# So long the other camera may take to make the jump that one has made.
JUMP_GRACE_NS = NS_PER_S
# The smallest of so many stamp intervals (up to twice as many) tells how soon a frame can come.
NUM_INTERVALS = 16
# So many stamps are remembered to tell repeated frames.
NUM_RECENT = 256
# Refused frames in a row, and the time they span, that make a step back of less than 1 s.
NUM_REFUSED = 3
REFUSED_SPAN_NS = 50_000_000
NEVER_NS = -(1 << 62)


class CameraTrack:
    """Stamps and arrivals of one camera. "Aligned" stamps have the camera offset removed.

    Attributes:
        num_received: Frames pushed.
        newest_ns: Largest aligned stamp.
        next_ns: Smallest aligned stamp expected of its next frame; ``NEVER_NS`` when nothing can
            be expected: no frame yet, or it is yet to follow a jump.
        received_ns: Arrival of the last frame that was of use.
        resumed_ns: Arrival of the first such frame after a pause of both cameras.
        other: The other camera.
    """

    __slots__ = (
        '_block_ns',
        '_follows_below_ns',
        '_follows_until_ns',
        '_interval_ns',
        '_last_ns',
        '_num_intervals',
        '_recent',
        '_refused',
        '_refused_newest_ns',
        'newest_ns',
        'next_ns',
        'num_received',
        'other',
        'received_ns',
        'resumed_ns',
    )

    def __init__(self) -> None:
        """Start without knowledge."""
        self.num_received = 0
        self.other: CameraTrack | None = None
        self.newest_ns = self.next_ns = NEVER_NS
        self.received_ns = self.resumed_ns = NEVER_NS
        self._last_ns = NEVER_NS  # the last one that came, not the largest
        self._recent: deque[int] = deque(maxlen=NUM_RECENT)
        self._interval_ns = self._block_ns = STAMP_JUMP_NS
        self._num_intervals = 0
        self._follows_until_ns = self._follows_below_ns = NEVER_NS
        self._refused: list[tuple[int, int]] = []  # stamps and arrivals
        self._refused_newest_ns = NEVER_NS

    def note_arrival(self, received_ns: int, silence_ns: int) -> None:
        """Take over the arrival of a frame; after ``silence_ns`` without one it has resumed."""
        if received_ns - self.received_ns >= silence_ns:
            self._note_silence(received_ns)
        self.received_ns = received_ns

    def note(self, aligned_ns: int, received_ns: int, silence_ns: int) -> None:
        """Take over stamp and arrival of an accepted frame; see ``note_arrival``."""
        if received_ns - self.received_ns >= silence_ns:
            self._note_silence(received_ns)
        self.received_ns = received_ns
        interval_ns = aligned_ns - self._last_ns
        self._last_ns = aligned_ns
        self._recent.append(aligned_ns)
        if aligned_ns > self.newest_ns:  # noqa: PLR1730 max() costs more, and this runs per frame
            self.newest_ns = aligned_ns
        if 0 < interval_ns < STAMP_JUMP_NS:  # longer ones are dropouts
            self._num_intervals += 1
            if interval_ns < self._block_ns:
                self._block_ns = interval_ns
                self._interval_ns = min(self._interval_ns, interval_ns)
            if not self._num_intervals % NUM_INTERVALS:
                self._interval_ns, self._block_ns = self._block_ns, STAMP_JUMP_NS
        self.next_ns = aligned_ns + (self._interval_ns if self._num_intervals else 1)
        if self._follows_until_ns != NEVER_NS:
            self._await_jump(aligned_ns)

    def _note_silence(self, received_ns: int) -> None:
        # Only a pause of both: a slow camera alone must not look like one that always resumes.
        if self.other is None or self.other.received_ns >= self.resumed_ns:
            self.resumed_ns = received_ns

    def is_repeated(self, aligned_ns: int) -> bool:
        """Tell whether a frame of that stamp was here a short while ago."""
        return aligned_ns <= self.newest_ns and aligned_ns in self._recent

    def has_stepped_back(self, aligned_ns: int, received_ns: int) -> bool:
        """Take over a refused frame; tell whether the stamps have stepped back for good.

        A late frame comes alone or in a burst. After a step back every frame is behind the
        newest one, and yet they go forward.
        """
        if aligned_ns > self.newest_ns:
            return False
        refused = self._refused
        if self._refused_newest_ns != self.newest_ns or refused[-1][0] >= aligned_ns:
            refused.clear()
        self._refused_newest_ns = self.newest_ns
        refused.append((aligned_ns, received_ns))
        span_ns = received_ns - refused[0][1]
        return len(refused) >= NUM_REFUSED and span_ns >= REFUSED_SPAN_NS

    def start_over(self, middle_ns: int) -> None:
        """Forget what is from before a jump back across ``middle_ns``."""
        self.newest_ns = self.next_ns = self._last_ns = NEVER_NS
        self._follows_until_ns = NEVER_NS
        self.forget_repeats(middle_ns)

    def forget_repeats(self, middle_ns: int) -> None:
        """Accept stamps from ``middle_ns`` on a second time."""
        kept = [stamp_ns for stamp_ns in self._recent if stamp_ns < middle_ns]
        self._recent = deque(kept, maxlen=NUM_RECENT)

    def expect_jump(self, middle_ns: int, until_ns: int) -> None:
        """Expect that this camera follows the other one back across ``middle_ns``."""
        if self.newest_ns >= middle_ns:
            self._follows_below_ns, self._follows_until_ns = middle_ns, until_ns
            self.next_ns = NEVER_NS

    def _await_jump(self, aligned_ns: int) -> None:
        if aligned_ns < self._follows_below_ns or self.received_ns >= self._follows_until_ns:
            self._follows_until_ns = NEVER_NS
        else:
            self.next_ns = NEVER_NS

    def shift(self, by_ns: int) -> None:
        """Move all aligned stamps: the camera offset has changed."""
        if self.newest_ns == NEVER_NS:
            return
        self.newest_ns += by_ns
        self._last_ns += by_ns
        if self.next_ns != NEVER_NS:
            self.next_ns += by_ns
        self._follows_below_ns += by_ns
        self._refused.clear()
        self._refused_newest_ns = NEVER_NS
        self._recent = deque((stamp + by_ns for stamp in self._recent), maxlen=NUM_RECENT)
