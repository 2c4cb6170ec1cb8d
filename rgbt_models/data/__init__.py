# SPDX-License-Identifier: Apache-2.0
"""Data sets of RGB-thermal pairs: manifests, readers of published layouts, folders and shards."""

from rgbt_models.data.folder import write_folder
from rgbt_models.data.layouts import LAYOUTS, read_layout
from rgbt_models.data.manifest import BoxLabel, load_manifest, Manifest, PairEntry, save_manifest
from rgbt_models.data.pairs import iterate_pairs, load_pair, LoadedPair
from rgbt_models.data.shards import read_shards, write_shards
from rgbt_models.data.skipped import Skipped

__all__ = [
    'LAYOUTS',
    'BoxLabel',
    'LoadedPair',
    'Manifest',
    'PairEntry',
    'Skipped',
    'iterate_pairs',
    'load_manifest',
    'load_pair',
    'read_layout',
    'read_shards',
    'save_manifest',
    'write_folder',
    'write_shards',
]
