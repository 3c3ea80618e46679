"""Runs a command that may write only what its user may, even where that is root; Linux.

python without_override.py COMMAND ...
"""

import ctypes
import os
import sys

_DROP_FROM_BOUNDING_SET, _DAC_OVERRIDE, _DAC_READ_SEARCH = 24, 1, 2

if os.geteuid() == 0:
    for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
        if ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDING_SET, capability, 0, 0, 0):
            sys.exit(77)
os.execvp(sys.argv[1], sys.argv[1:])
