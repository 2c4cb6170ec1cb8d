# SPDX-License-Identifier: Apache-2.0
"""The command line tool ``rgbt``: one subcommand per file."""
