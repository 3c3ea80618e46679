"""Numbers of parameters as models' names have them: 130M, 2.8B."""

from __future__ import annotations

import re

from spectrakit.errors import UsageError
from spectrakit.wording import given

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([KMBT]?)", re.ASCII | re.IGNORECASE)


def parameters_of(size: str) -> int:
    """A size, `130M`, `2.8B` or a plain number, in parameters. Raises `UsageError`."""
    match = _SIZE.fullmatch(size.strip())
    if match is None:
        raise UsageError(f"{size!r} is not a number of parameters", hint=given(max_size="2.8B"))
    return round(float(match[1]) * _UNITS[match[2].upper()])


def size_of(parameters: int) -> str:
    """A number of parameters to three digits: 229K, 129M, 7.27B."""
    for unit, count in reversed(_UNITS.items()):
        # 999,600 is 1M and not 1e+03K.
        if parameters >= 0.9995 * count and unit:
            return f"{parameters / count:.3g}{unit}"
    return str(parameters)
