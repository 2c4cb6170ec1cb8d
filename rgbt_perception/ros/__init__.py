# SPDX-License-Identifier: Apache-2.0
"""The ROS edge: parameters, messages, QoS, diagnostics. ROS is imported only here and in nodes."""
