# SPDX-License-Identifier: Apache-2.0
"""Self-supervised pretraining on pairs without labels."""
