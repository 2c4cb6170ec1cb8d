# SPDX-License-Identifier: Apache-2.0
"""The fault matrix: every row of ``test/faults`` is run; ``docs/faults.md`` is what was seen."""

from __future__ import annotations

import re

from fakes import build_card
from faults import FAULTS, Observed, page_text
import faults.in_content
import faults.in_engine
import faults.in_geometry
import faults.in_messages
import faults.in_parameters
import faults.in_presence
import faults.in_time  # noqa: F401
from faults.rig import FaultRig, SETTINGS
from faults.table import row_text
import pytest
from source_tree import ROOT

PAGE = ROOT / 'docs' / 'faults.md'
MIN_FAULTS = 60
ROWS: dict[str, str] = {}


@pytest.mark.parametrize(
    'fault', [fault for fault in FAULTS if fault.is_live], ids=lambda fault: fault.key
)
def test_a_running_node_meets(fault, ros_context, tmp_path, capfd):
    rig = FaultRig(ros_context, build_card(tmp_path), capfd, values={**SETTINGS, **fault.settings})
    try:
        rig.start()
        rig.warm_up()
        fault.run(rig)
        mode = rig.last_mode()
        seen = rig.observe(fault)
        if fault.expected.mode:
            assert mode == fault.expected.mode, rig.mdi_values()['mode_reason']
        if fault.recovers:
            rig.recover()
        rig.assert_is_alive()
        rig.assert_outputs_are_fresh()
    finally:
        rig.close()
    shown = mode if fault.expected.mode else ''
    ROWS[fault.key] = row_text(fault, Observed(text=seen.text, level=seen.level, mode=shown))


@pytest.mark.parametrize(
    'fault', [fault for fault in FAULTS if not fault.is_live], ids=lambda fault: fault.key
)
def test_one_stage_meets(fault, tmp_path):
    said = fault.run(tmp_path)
    assert re.search(fault.expected.text, said), said
    ROWS[fault.key] = row_text(fault, Observed(text=said))


def test_the_matrix_is_large_and_no_row_is_there_twice():
    keys = [fault.key for fault in FAULTS]
    assert len(keys) >= MIN_FAULTS
    assert len(set(keys)) == len(keys)


def test_the_page_shows_what_was_observed(request):
    if len(ROWS) < len(FAULTS):  # a selection was run, or a row failed, which says so itself
        missing = [fault.key for fault in FAULTS if fault.key not in ROWS]
        shown = PAGE.read_text(encoding='utf-8')
        assert not [key for key, row in ROWS.items() if row not in shown], missing
        return
    if request.config.getoption('--write-faults'):
        PAGE.write_text(page_text(ROWS), encoding='utf-8')
    assert PAGE.read_text(encoding='utf-8') == page_text(ROWS)
