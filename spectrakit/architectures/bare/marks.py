"""The parameters by which layers of bare state dicts are known, but for those of the S4 line."""

from __future__ import annotations

import re

NAMES = (
    "A_log",
    "A_b_log",
    "A_logs",
    "recurrent_param",
    "time_decay",
    "w0",
    "fgate_preact.bias",
    "ifgate_preact.bias",
    "fgate.bias",
    "_recurrent_kernel_",
)
#: Of a tensor's whole name: the module's path, and the parameter.
MARKS = re.compile(rf"(?:(.*)\.)?({'|'.join(map(re.escape, NAMES))})")
