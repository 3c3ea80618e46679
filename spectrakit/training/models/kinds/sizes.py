"""How the width of a model is cut into heads."""

from __future__ import annotations

from spectrakit.errors import UsageError


def head_width(width: int, heads: int) -> int:
    """Width / heads. Raises UsageError where they do not divide it."""
    if width % heads:
        message = f"{heads} heads do not divide a width of {width}"
        fitting = [n for n in range(1, width + 1) if width % n == 0]
        near = sorted(fitting, key=lambda n: abs(n - heads))[:3]
        raise UsageError(message, hint=f"heads is one of: {', '.join(map(str, sorted(near)))}")
    return width // heads
