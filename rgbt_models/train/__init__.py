# SPDX-License-Identifier: Apache-2.0
"""Training on the synthetic world: pool, augmentation, losses and the loop."""
