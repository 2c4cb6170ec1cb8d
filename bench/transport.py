# SPDX-License-Identifier: Apache-2.0
"""Images between two processes: the Fast DDS default beside the shipped profile.

    python -m bench.transport [--rounds 5] [--frames 60] [--rate 30] [--out DIR]

640x480 rgb8, reliable and best effort, from the call of publish to the callback in Python. Both
sides of the comparison run in every round, each with a sender and a receiver of its own.
Exit status 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import shutil
import sys
import tempfile
import time

from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe,
    describe_bounds,
    number,
    print_bounds,
    write_results,
)
from bench.transport_peers import KINDS, NUM_WARM_UP
from rgbt_perception.demo import profile_variable, ros_environment
from rgbt_perception.errors import ProcessError
from rgbt_perception.processes import ChildProcess

PROFILES = ('default', 'shipped')
P50_BOUND = 0.3
RECEIVED_BOUND = 0.99
SEND_LIMIT_S = 60.0
POLL_S = 0.05
SHM = Path('/dev/shm')  # noqa: S108  # where Fast DDS puts its segments


@dataclass(slots=True, kw_only=True)
class Tally:
    """What one profile and reliability gave over all rounds.

    Attributes:
        num_sent: Images sent, without the first ones of each round.
        latencies_ms: Latencies of those that arrived.
    """

    num_sent: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Received of sent."""
        return len(self.latencies_ms) / self.num_sent if self.num_sent else float('nan')

    def describe(self) -> dict[str, object]:
        """Return the JSON value."""
        return {
            'sent': self.num_sent,
            'received': len(self.latencies_ms),
            'received_share': round(self.share, 4),
            'latency_ms': describe(self.latencies_ms) if self.latencies_ms else None,
        }


def environment(profile: str, domain_id: int | None) -> dict[str, str]:
    """Return the variables of both programs.

    Args:
        profile: 'default' for Fast DDS as it comes, 'shipped' for config/fastdds_shm.xml.
        domain_id: ROS domain, None = one of this program's own.
    """
    env = ros_environment(domain_id)
    if profile == 'default':
        env[profile_variable()] = ''
    return env


def run_round(
    profile: str, folder: Path, *, num_frames: int, rate_hz: float, domain_id: int | None
) -> dict[str, list[float]]:
    """Send through fresh processes; return the latencies by reliability, milliseconds.

    Raises:
        ProcessError: If one of them fails.
    """
    env, report = environment(profile, domain_id), folder / 'received.json'
    report.unlink(missing_ok=True)
    receive = ['--role', 'receiver', '--report', str(report)]
    send = ['--role', 'sender', '--frames', str(num_frames), '--rate', str(rate_hz)]
    peers = 'bench.transport_peers'
    with ChildProcess('receiver', peers, arguments=receive, log_dir=folder, env=env) as receiver:
        with ChildProcess('sender', peers, arguments=send, log_dir=folder, env=env) as sender:
            deadline = time.monotonic() + SEND_LIMIT_S + len(KINDS) * num_frames / rate_hz
            while sender.exit_status is None:
                receiver.check_alive()
                if time.monotonic() > deadline:
                    raise sender.failure(f'was not done within {SEND_LIMIT_S:g} s')
                time.sleep(POLL_S)
            if sender.exit_status:
                raise sender.failure('failed')
        receiver.stop()
        if not report.is_file():
            raise receiver.failure('wrote no report')
    received: dict[str, list[float]] = json.loads(report.read_text(encoding='utf-8'))
    return received


def main(argv: list[str] | None = None) -> int:
    """Measure, judge, print and write."""
    parser = argparse.ArgumentParser(
        prog='python -m bench.transport', description=(__doc__ or '').partition('\n')[0]
    )
    parser.add_argument('--frames', type=number(int, at_least=NUM_WARM_UP + 1), default=60)
    parser.add_argument('--rate', type=number(float, at_least=1.0), default=30.0, help='Hz')
    parser.add_argument('--domain', type=number(int, at_least=0), help='ROS domain')
    add_common_arguments(parser, rounds=5)
    args = parser.parse_args(argv)
    tallies: dict[tuple[str, str], Tally] = defaultdict(Tally)
    with tempfile.TemporaryDirectory(prefix='rgbt-transport-') as folder:
        for _ in range(args.rounds):
            for profile in PROFILES:
                received = run_round(
                    profile,
                    Path(folder),
                    num_frames=args.frames,
                    rate_hz=args.rate,
                    domain_id=args.domain,
                )
                for kind in KINDS:
                    tallies[profile, kind].num_sent += args.frames - NUM_WARM_UP
                    tallies[profile, kind].latencies_ms += received[kind]
    bounds = bounds_of(tallies)
    results = {
        'conditions': conditions(
            rounds=args.rounds,
            frames=args.frames,
            rate_hz=args.rate,
            image='640x480 rgb8',
            dev_shm_mib=shutil.disk_usage(SHM).total >> 20 if SHM.is_dir() else 0,
            distribution=os.environ.get('ROS_DISTRO', ''),
        ),
        **describe_bounds(bounds),
        'p50_ratio': {kind: _rounded(ratio_of(tallies, kind)) for kind in KINDS},
        **{
            profile: {kind: tallies[profile, kind].describe() for kind in KINDS}
            for profile in PROFILES
        },
    }
    return print_bounds(bounds, write_results('transport', results, args.out))


def bounds_of(tallies: dict[tuple[str, str], Tally]) -> list[Bound]:
    """Judge the rounds."""
    return [
        Bound(
            name='p50 of reliable images, shipped profile over default',
            value=ratio_of(tallies, 'reliable'),
            at_most=P50_BOUND,
        ),
        *(
            Bound(
                name=f'received of sent, {kind}, shipped profile',
                value=tallies['shipped', kind].share,
                at_least=RECEIVED_BOUND,
            )
            for kind in KINDS
        ),
    ]


def ratio_of(tallies: dict[tuple[str, str], Tally], kind: str) -> float:
    """Return p50 with the shipped profile over p50 with the default, NaN when nothing arrived."""
    default, shipped = (tallies[profile, kind].latencies_ms for profile in PROFILES)
    if not default or not shipped:
        return float('nan')
    return describe(shipped, 6)['median'] / describe(default, 6)['median']


def _rounded(value: float) -> float | None:
    return round(value, 4) if value == value else None  # noqa: PLR0124  # NaN is not JSON


if __name__ == '__main__':
    try:
        sys.exit(main())
    except ProcessError as error:
        sys.exit(f'error: {error}')
