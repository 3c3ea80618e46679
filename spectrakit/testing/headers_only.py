"""What claiming a checkpoint and listing its layers costs, in a process that has read nothing yet.

    python -m spectrakit.testing.headers_only MODEL

prints the bytes of tensors that were read and the heavy modules that were imported, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from spectrakit.testing.require import CheckFailed

#: What takes a good part of a second to import, and none of which reads a header.
HEAVY = ("numpy", "safetensors.torch", "torch", "transformers")

_SECONDS = 120


@dataclass(frozen=True)
class Cost:
    """bytes_read: of tensors. imported: names of heavy modules."""

    bytes_read: int
    imported: tuple[str, ...]


def cost_of_claiming(model: Path) -> Cost:
    """What it took a new Python to claim `model` and to list its layers."""
    done = subprocess.run(  # noqa: S603  (this Python, this module)
        [sys.executable, "-m", __name__, str(model)],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        message = f"claiming it in a new process failed: {last}"
        raise CheckFailed(message)
    said = json.loads(done.stdout)
    return Cost(said["bytes_read"], tuple(said["imported"]))


def main(model: str) -> None:
    """Claim `model`, list its layers, and print what that took."""
    from spectrakit.checkpoints import open_checkpoint
    from spectrakit.model import Model

    with open_checkpoint(model) as checkpoint:
        before = checkpoint.bytes_read
        layers = Model(checkpoint).layers
        cost = {
            "layers": len(layers),
            "bytes_read": checkpoint.bytes_read - before,
            "imported": [name for name in HEAVY if name in sys.modules],
        }
    sys.stdout.write(json.dumps(cost))


if __name__ == "__main__":
    main(sys.argv[1])
