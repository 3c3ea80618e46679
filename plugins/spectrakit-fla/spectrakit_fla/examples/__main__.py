"""Writes the tiny checkpoints, to try the plugin on.

python -m spectrakit_fla.examples FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from spectrakit.testing import CheckpointExample
from spectrakit_fla.examples import EXAMPLES

for example in EXAMPLES:
    if isinstance(example, CheckpointExample):
        example.write(Path(sys.argv[1]) / example.name.replace(" ", "-"))
