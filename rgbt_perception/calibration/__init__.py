# SPDX-License-Identifier: Apache-2.0
"""Finding how the two cameras lie to each other, from images of a board or of the world."""
