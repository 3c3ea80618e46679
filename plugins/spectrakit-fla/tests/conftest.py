"""Of all plugins that are installed, these tests load this one alone; and one thread runs them."""

from __future__ import annotations

import os

os.environ["SPECTRAKIT_LOAD_PLUGINS"] = "fla"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # on tensors this small, threads wait for each other
