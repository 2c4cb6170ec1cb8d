# SPDX-License-Identifier: Apache-2.0
"""Measure what the node costs beside its engine: from the image's callback to the last publish.

    python -m bench.node_overhead [--seconds S] [--rate HZ] [--size HxW] [--out DIR]

A real node in this process, on one core, with an engine that answers at once; a second process
on other cores publishes rgb8 and mono16 images and listens to detections, mask and dominance, over
the real middleware. The clock starts when the callback of the second image of a pair is entered
and stops when the last output of the pair has been published; the run time of the engine itself
is subtracted. Everything in between counts: decoding, pairing, the way to the worker, judging the
cameras, thermal scaling, registration, the letterbox, supervision of the engine, boxes, the mask
at image size, building and publishing the messages.

``node`` is that total less the pipeline's own stages, which replay has as well and which cost
what the size of the images makes them cost; the bound is on it. The total and each stage are
reported beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import multiprocessing
import os
from pathlib import Path
import sys
from time import perf_counter, thread_time
from typing import Any

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.node_streams import IMAGE_HW, parse_image_hw
from bench.report import (
    add_common_arguments,
    Bound,
    conditions,
    describe_bounds,
    number,
    print_bounds,
    write_results,
)
from rgbt_models.card import load_card, ModelCard
from rgbt_perception.config import PerceptionConfig
from rgbt_perception.engine import EngineState, SupervisedEngine
from rgbt_perception.memory import keep_freed_memory
from rgbt_perception.pipeline import Pipeline
from rgbt_perception.types import Batch, Frame, Modality, NS_PER_S, RawOutputs, Result

PROFILE = Path(__file__).resolve().parents[1] / 'config' / 'fastdds_shm.xml'
MAX_NODE_MS = 1.5
NUM_IMAGES = 8
NUM_OBJECTS = 12
WARM_UP_PAIRS = 20
SHARES = (5, 50, 95, 99)  # p5 is what a pair costs that nothing disturbed
OUTPUT_TOPICS = ('detections', 'segmentation/mask', 'mdi')
STAGES = (
    'total_ms',  # callback of the second image to the last publish, less the engine
    'node_ms',  # the total less preprocess and postprocess
    'receive_ms',  # callback to the start of the pipeline: decode, pair, wake the worker
    'preprocess_ms',
    'supervision_ms',  # around the engine
    'postprocess_ms',
    'publish_ms',  # build and publish the messages
    'node_cpu_ms',  # processor time of the callback and of publishing: other load hardly counts
)


class InstantEngine:
    """Engine that answers at once, with outputs like those of a network on a street."""

    backend, device, precision = 'instant', 'cpu', 'fp32'

    def __init__(self, card: ModelCard) -> None:
        """Prepare the outputs for the card's input size."""
        self.state = EngineState()
        self._outputs = build_outputs(card)
        self.run_s = 0.0

    def run(self, batch: Batch) -> RawOutputs:
        """Give the outputs."""
        started = perf_counter()
        outputs = self._outputs
        assert batch.rgb.shape[0] == 1
        self.run_s = perf_counter() - started
        return outputs

    def close(self) -> None:
        """Do nothing."""


def build_outputs(card: ModelCard) -> RawOutputs:
    """Return outputs with a dozen objects, three anchors each, and curved segments."""
    height, width = card.input_hw
    rng = np.random.default_rng(0)
    num_anchors = sum((height // stride) * (width // stride) for stride in (8, 16, 32))
    logits = np.full((1, num_anchors, len(card.detection_classes)), -6.0, np.float32)
    boxes = np.zeros((1, num_anchors, 4), np.float32)
    low = rng.uniform(0.0, 0.8, (NUM_OBJECTS, 2)) * (width, height)
    found = np.concatenate([low, low + rng.uniform(16.0, 64.0, low.shape)], axis=1)
    for copy in range(3):
        rows = slice(copy * NUM_OBJECTS, (copy + 1) * NUM_OBJECTS)
        boxes[0, rows] = found + copy
        logits[0, rows, 0] = 2.0 - copy
    noise = rng.normal(size=(len(card.segmentation_classes), height // 4, width // 4))
    segments = [cv2.GaussianBlur(plane, (0, 0), 6.0) for plane in noise.astype(np.float32)]
    return RawOutputs(
        class_logits=logits,
        boxes_xyxy=boxes,
        segmentation_logits=np.stack(segments)[None],
        share_map=np.full((1, 1, height // 16, width // 16), 0.5, np.float32),
        rgb_shares=np.full((1, len(card.mdi_calibration.weights)), 0.5, np.float32),
        entropies=np.full((1, 2), 0.5, np.float32),
    )


class Stopwatch:
    """Notes, per pair, when what happened; everything that is timed is the node's own code."""

    def __init__(self, engine: InstantEngine) -> None:
        """Start without samples."""
        self._engine = engine
        self._entered_s: dict[int, float] = {}
        self._began_s = self._receive_cpu_s = self._publish_cpu_s = 0.0
        self.samples: list[dict[str, float]] = []

    def wrap_receive(self, receive: Callable[..., None]) -> Callable[..., None]:
        """Note when a callback was entered, by stamp; the second camera overwrites the first."""

        def wrapped(cameras: Any, modality: Modality, decode: Any, message: Any) -> None:
            entered_s, cpu_s = perf_counter(), thread_time()
            stamp = message.header.stamp
            self._entered_s[stamp.sec * NS_PER_S + stamp.nanosec] = entered_s
            receive(cameras, modality, decode, message)
            self._receive_cpu_s = thread_time() - cpu_s

        return wrapped

    def wrap_run(self, run: Callable[..., Result]) -> Callable[..., Result]:
        """Note when the pipeline began."""

        def wrapped(pair: Any) -> Result:
            self._began_s = perf_counter()
            return run(pair)

        return wrapped

    def wrap_publish(self, publish: Callable[..., None]) -> Callable[..., None]:
        """Note when the last output had been published."""

        def wrapped(outputs: Any, result: Result, config: Any) -> None:
            began_s, cpu_s = perf_counter(), thread_time()
            publish(outputs, result, config)
            self._publish_cpu_s = thread_time() - cpu_s
            self._note(result, began_s, perf_counter())

        return wrapped

    def _note(self, result: Result, publish_s: float, end_s: float) -> None:
        entered_s = self._entered_s.pop(result.pair.reference.stamp_ns, None)
        self._entered_s = {k: v for k, v in self._entered_s.items() if v > end_s - 5.0}
        if entered_s is None or result.pair.skew_ns is None:
            return
        times, engine_ms = result.times, self._engine.run_s * 1e3
        total_ms = (end_s - entered_s) * 1e3 - engine_ms
        self.samples.append(
            {
                'total_ms': total_ms,
                'node_ms': total_ms - times.preprocess_ms - times.postprocess_ms,
                'receive_ms': (self._began_s - entered_s) * 1e3,
                'preprocess_ms': times.preprocess_ms,
                'supervision_ms': times.infer_ms - engine_ms,
                'postprocess_ms': times.postprocess_ms,
                'publish_ms': (end_s - publish_s) * 1e3,
                'node_cpu_ms': (self._receive_cpu_s + self._publish_cpu_s) * 1e3,
            }
        )


def build_frames(size_hw: tuple[int, int], modality: Modality) -> list[Frame]:
    """Return images of noise; consecutive ones differ, as those of a live camera do."""
    rng = np.random.default_rng(1)
    is_rgb = modality is Modality.RGB
    frames = []
    for _ in range(NUM_IMAGES):
        pixels = (
            rng.integers(40, 200, (*size_hw, 3), np.uint8)
            if is_rgb
            else rng.integers(29_000, 30_000, size_hw, np.uint16)
        )
        frames.append(Frame(pixels=pixels, stamp_ns=0, frame_id=modality.value, modality=modality))
    return frames


def run_user(size_hw: tuple[int, int], rate_hz: float, stop: Any) -> None:
    """Be the cameras and the listener, in a process of their own, until told to stop."""
    from diagnostic_msgs.msg import DiagnosticArray
    import rclpy
    from rclpy.node import Node
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header
    from vision_msgs.msg import Detection2DArray

    from rgbt_perception.ros.messages import build_image

    rclpy.init()
    node = Node('user')
    kinds = (Detection2DArray, Image, DiagnosticArray)
    for topic, kind in zip(OUTPUT_TOPICS, kinds, strict=True):
        node.create_subscription(kind, f'/perception/{topic}', lambda _: None, 10)
    encodings = {Modality.RGB: 'rgb8', Modality.THERMAL: 'mono16'}
    publishers = {
        item: node.create_publisher(Image, f'{item.value}/image_raw', 2) for item in Modality
    }
    messages = {
        item: [
            build_image(np.asarray(frame.pixels), encodings[item], Header(frame_id=item.value))
            for frame in build_frames(size_hw, item)
        ]
        for item in Modality
    }
    index = 0

    def send() -> None:
        nonlocal index
        stamp = node.get_clock().now().to_msg()
        for item in Modality:
            message = messages[item][index % NUM_IMAGES]
            message.header.stamp = stamp
            publishers[item].publish(message)
        index += 1

    node.create_timer(1.0 / rate_hz, send)
    while not stop.is_set():
        rclpy.spin_once(node, timeout_sec=0.1)
    node.destroy_node()
    rclpy.shutdown()


def measure(card: ModelCard, *, rate_hz: float, num_pairs: int) -> list[dict[str, float]]:
    """Run the node until it has processed so many pairs; return the times of each.

    Raises:
        TimeoutError: If they do not come.
    """
    import rclpy
    from rclpy.executors import SingleThreadedExecutor

    from rgbt_perception.nodes.perception_node import PerceptionNode
    from rgbt_perception.ros.cameras import Cameras
    from rgbt_perception.ros.outputs import Outputs

    engine = InstantEngine(card)
    watch = Stopwatch(engine)
    Cameras._receive = watch.wrap_receive(Cameras._receive)  # type: ignore[method-assign]  # noqa: SLF001 the callback itself is what is timed
    Outputs.publish = watch.wrap_publish(Outputs.publish)  # type: ignore[method-assign]

    def open_with(config: PerceptionConfig) -> Pipeline:
        supervised = SupervisedEngine(
            config.engine, backends=('instant',), open_backend=lambda _: engine
        )
        pipeline = Pipeline(card=card, engine=supervised, config=config)
        pipeline.run = watch.wrap_run(pipeline.run)  # type: ignore[method-assign]
        return pipeline

    rclpy.init()
    node = PerceptionNode(open_with=open_with)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    deadline = perf_counter() + 30.0 + 3.0 * num_pairs / rate_hz
    try:
        if not node.start():
            raise RuntimeError('the node did not start; its log says why')
        while len(watch.samples) < num_pairs + WARM_UP_PAIRS:
            executor.spin_once(timeout_sec=0.1)
            if perf_counter() > deadline:
                raise TimeoutError(
                    f'{len(watch.samples)} pairs came, expected {num_pairs}; use a lower --rate'
                )
    finally:
        executor.shutdown()
        node.close()
        node.destroy_node()
        rclpy.shutdown()
    return watch.samples[WARM_UP_PAIRS:]


def split_cores() -> tuple[set[int], set[int]]:
    """Return the core of the node and the cores of the user; the same one where there is one."""
    cores = sorted(os.sched_getaffinity(0))
    return {cores[-1]}, set(cores[:-1]) or {cores[-1]}


def percentiles(samples: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return the percentiles of every stage, ms."""
    return {
        stage: {
            f'p{share}': round(float(np.percentile([item[stage] for item in samples], share)), 3)
            for share in SHARES
        }
        for stage in STAGES
    }


def print_stages(stages: dict[str, dict[str, float]]) -> None:
    """Print one row per stage."""
    table = Table(title='callback of the second image to the last publish, less the engine')
    table.add_column('stage, ms')
    for name in [f'p{share}' for share in SHARES]:
        table.add_column(name, justify='right')
    for stage, values in stages.items():
        table.add_row(stage.removesuffix('_ms'), *(f'{value:.3f}' for value in values.values()))
    Console().print(table)


def main() -> int:
    """Measure, print, write; exit status 1 when the bound is broken."""
    parser = argparse.ArgumentParser(description='What the node costs beside its engine.')
    parser.add_argument('--seconds', type=number(float, at_least=1), default=20.0)
    parser.add_argument('--rate', type=number(float, at_least=1), default=20.0, help='Hz')
    parser.add_argument('--size', type=parse_image_hw, default=IMAGE_HW, help='images, HxW px')
    add_common_arguments(parser)
    options = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    os.environ.setdefault('FASTDDS_DEFAULT_PROFILES_FILE', str(PROFILE))
    os.environ.setdefault('FASTRTPS_DEFAULT_PROFILES_FILE', str(PROFILE))
    keep_freed_memory()  # as the node's program does
    cv2.setNumThreads(1)
    node_cores, user_cores = split_cores()
    spawn = multiprocessing.get_context('spawn')
    stop = spawn.Event()
    os.sched_setaffinity(0, user_cores)  # inherited by the user
    user = spawn.Process(target=run_user, args=(options.size, options.rate, stop))
    user.start()
    os.sched_setaffinity(0, node_cores)
    card = load_card('tiny')
    try:
        samples = measure(
            card,
            rate_hz=options.rate,
            num_pairs=round(options.seconds * options.rate),
        )
    finally:
        stop.set()
        user.join(10.0)
        user.kill()
    stages = percentiles(samples)
    print_stages(stages)
    bounds = [
        Bound(
            name='node over pipeline and engine, p50',
            value=stages['node_ms']['p50'],
            at_most=MAX_NODE_MS,
            unit='ms',
        )
    ]
    facts = conditions(
        card=card,
        input_hw=list(card.input_hw),
        image_hw=list(options.size),
        rate_hz=options.rate,
        pairs=len(samples),
        node_cores=sorted(node_cores),
    )
    results = {'conditions': facts, 'stages': stages, **describe_bounds(bounds)}
    return print_bounds(bounds, write_results('node_overhead', results, options.out))


if __name__ == '__main__':
    sys.exit(main())
