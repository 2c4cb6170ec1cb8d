# SPDX-License-Identifier: Apache-2.0
"""What the stages of the pipeline have to say on /diagnostics: engine, registration, heat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rgbt_perception.ros.messages import build_status
from rgbt_perception.ros.stock_checks import ERROR, Finding, merge, OK, WARN

if TYPE_CHECKING:
    from diagnostic_msgs.msg import DiagnosticStatus

    from rgbt_models.card import ModelCard
    from rgbt_perception.config import RegistrationConfig, ThermalConfig
    from rgbt_perception.engine.base import EngineState
    from rgbt_perception.pipeline import Pipeline
    from rgbt_perception.types import Result

CERTAIN = 0.5  # confidence from which a measured misregistration is warned of


def engine_status(pipeline: Pipeline, node_name: str) -> DiagnosticStatus:
    """Say what runs: backend, device and precision as the engine itself reports them."""
    card, engine = pipeline.card, pipeline.engine
    kind = 'trained on synthetic data only' if card.synthetic_only else card.training_data
    fine = Finding(
        OK, f'{card.name} on {engine.backend}, {engine.device}, {engine.precision}: {kind}'
    )
    state = engine.state
    verdict = merge([fine, _state_finding(state, engine.backend)])
    height, width = pipeline.input_hw
    values = {
        'backend': engine.backend,
        'device': engine.device,
        'precision': engine.precision,
        'status': state.status,
        'fallback_from': state.fallback_from,
        'fallback_reason': state.fallback_reason,
        'building': state.building,
        'timeouts': str(state.num_timeouts),
        'failures': str(state.num_failures),
        'reopened': str(state.num_reopened),
        'last_problem': state.last_problem,
        'model': card.name,
        'model_version': card.version,
        'architecture': card.architecture,
        'input_size': f'{width}x{height}',
        'synthetic_only': 'true' if card.synthetic_only else 'false',
        'licence': card.licence,
    }
    return build_status(
        level=verdict.level,
        name=f'{node_name}: engine',
        text=verdict.text,
        values=values,
        hardware_id=engine.device,
    )


def _state_finding(state: EngineState, backend: str) -> Finding:
    if state.status == 'reopening':
        return Finding(ERROR, f'the engine is being reopened: {state.last_problem}')
    if state.status == 'given_up':
        remedy = 'correct the cause, then deactivate and activate the node'
        return Finding(ERROR, f'no engine is left: {state.last_problem}; {remedy}')
    if state.fallback_from:
        lost = state.fallback_from
        return Finding(
            WARN,
            f'running on {backend} because {lost} failed: {state.fallback_reason}; correct the '
            f'cause, then activate the node again, or configure it again if {lost} never ran',
        )
    return Finding(OK, '')


def registration_finding(
    result: Result | None, pipeline: Pipeline, config: RegistrationConfig
) -> Finding:
    """Say whether thermal lies where the settings put it, by the last result's measurement."""
    missing = Finding(WARN, pipeline.registration.problem)
    if result is None or result.misregistration.confidence < CERTAIN:
        return missing
    shift = result.misregistration
    if shift.shift_px <= config.max_parallax_px:
        return missing
    text = (
        f'thermal lies {shift.shift_px:.0f} px beside RGB ({shift.shift_x_px:+.0f} right, '
        f'{shift.shift_y_px:+.0f} down), allowed {config.max_parallax_px:.0f} px: calibrate again '
        f'with rgbt calibrate, correct registration.depth_m, or raise registration.max_parallax_px'
    )
    return merge([missing, Finding(WARN, text)])


def temperature_finding(result: Result | None, card: ModelCard, config: ThermalConfig) -> Finding:
    """Name the hottest detection of the last result when it is a hot spot."""
    if result is None or config.hot_spot_c <= 0.0 or not len(result.temperatures):
        return Finding(OK, '')
    hottest_c = np.nan_to_num(result.temperatures.max_c, nan=-np.inf)
    index = int(np.argmax(hottest_c))
    if hottest_c[index] <= config.hot_spot_c:
        return Finding(OK, '')
    name = card.detection_classes[int(result.detections.class_ids[index])]
    text = (
        f'hot spot: {name} at {hottest_c[index]:.1f} C, limit thermal.hot_spot_c '
        f'{config.hot_spot_c:.1f} C; look at ~/temperatures'
    )
    return Finding(WARN, text)
