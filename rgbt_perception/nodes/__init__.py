# SPDX-License-Identifier: Apache-2.0
"""ROS nodes; each file is one executable of the same name."""
