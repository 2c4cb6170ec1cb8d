# SPDX-License-Identifier: Apache-2.0
"""What ``~/mdi`` says about one result, as plain text values: the same live and in bags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rgbt_perception.bag_messages import DiagnosticText
from rgbt_perception.types import Mode, NS_PER_S

if TYPE_CHECKING:
    from rgbt_perception.types import Frame, Result

MDI_STATUS_NAME = 'perception: modality dominance'


def mdi_text(result: Result, *, backend: str, model: str) -> DiagnosticText:
    """Return what is published and recorded about the dominance of one result.

    Args:
        result: The result.
        backend: What ran the network, e.g. 'onnx'.
        model: Name of the model card.

    Returns:
        Level 0 (OK) when both cameras worked, else 1 (WARN). The values are in a fixed order:
        stamps are seconds with nine decimals, '' for a camera that gave no frame; times are
        milliseconds; numbers the network did not give are 'nan'.
    """
    is_ok, message = _verdict(result)
    return DiagnosticText(
        level=0 if is_ok else 1,
        name=MDI_STATUS_NAME,
        message=message,
        hardware_id='',
        values=_values(result, backend=backend, model=model),
    )


def _values(result: Result, *, backend: str, model: str) -> dict[str, str]:
    dominance, times, pair = result.dominance, result.times, result.pair
    skew_ns = pair.skew_ns
    return {
        'mode': result.mode.value,
        'mode_reason': result.mode_reason,
        'mdi': f'{dominance.mdi:.4f}',
        'rgb_share': f'{dominance.rgb_share:.4f}',
        'thermal_share': f'{dominance.thermal_share:.4f}',
        'rgb_entropy': f'{dominance.rgb_entropy:.4f}',
        'thermal_entropy': f'{dominance.thermal_entropy:.4f}',
        'skew_ms': '' if skew_ns is None else f'{skew_ns / 1e6:.3f}',
        'rgb_stamp': _stamp_text(pair.rgb),
        'thermal_stamp': _stamp_text(pair.thermal),
        'misregistration_px': f'{result.misregistration.shift_px:.1f}',
        'misregistration_confidence': f'{result.misregistration.confidence:.2f}',
        'method': dominance.method,
        'valid': 'true' if dominance.valid else 'false',
        'state': dominance.state.value,
        'latency_ms': f'{times.latency_ms:.2f}',
        'preprocess_ms': f'{times.preprocess_ms:.2f}',
        'infer_ms': f'{times.infer_ms:.2f}',
        'postprocess_ms': f'{times.postprocess_ms:.2f}',
        'backend': backend,
        'model': model,
    }


def _verdict(result: Result) -> tuple[bool, str]:
    """Return whether both cameras worked, and one line for a human reader."""
    if result.mode is not Mode.FUSED:
        return False, f'{result.mode.value}: {result.mode_reason}'
    if not result.dominance.valid:
        return False, 'fused: the network gave no usable dominance'
    return True, f'fused: mdi {result.dominance.mdi:+.2f} ({result.dominance.state.value})'


def _stamp_text(frame: Frame | None) -> str:
    if frame is None:
        return ''
    return f'{frame.stamp_ns // NS_PER_S}.{frame.stamp_ns % NS_PER_S:09d}'
