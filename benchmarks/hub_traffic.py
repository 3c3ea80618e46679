"""What weights mode moves over the Hub's protocol, counted by the server."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.checkpoints import Checkpoints, weights
from benchmarks.measure import Row, run_process, spectrakit
from tests.support.hub import HubServer


def rows(checkpoints: Checkpoints) -> Iterator[Row]:
    for name, folder, most in (
        ("Mamba-130m safetensors", checkpoints.safetensors, 35),
        ("Mamba-130m .bin", checkpoints.zipped, 70),
        ("Mamba-2-130m .bin", checkpoints.mamba2, 70),
    ):
        requests, sent = _analysed(folder)
        share = sent / weights(folder).stat().st_size
        yield Row(f"{name}: requests", str(requests), f"<= {most}", requests <= most)
        figure = f"{100 * share:.2f} % ({sent:,} B)"
        yield Row(f"{name}: share of the file's bytes", figure, "<= 1 %", share <= 0.01)


def _analysed(folder: Path) -> tuple[int, int]:
    """Requests and body bytes of one `spectrakit analyze` with a cold cache, redirected as CDNs."""
    with HubServer(cdn=True) as hub, tempfile.TemporaryDirectory() as scratch:
        files: dict[str, bytes | Path] = {path.name: path for path in folder.iterdir()}
        hub.add_repo(f"state-spaces/{folder.name}", files)
        run_process(
            spectrakit(
                "analyze", f"state-spaces/{folder.name}", "--no-figures", "--out", f"{scratch}/run"
            ),
            HF_ENDPOINT=hub.url,
            HF_HOME=f"{scratch}/cache",
        )
        return hub.requests, hub.bytes_sent
