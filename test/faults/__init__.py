# SPDX-License-Identifier: Apache-2.0
"""The fault matrix: what is done to the system, and what it must say and do."""

from faults.table import Expected, Fault, FAULTS, Observed, page_text

__all__ = ['FAULTS', 'Expected', 'Fault', 'Observed', 'page_text']
