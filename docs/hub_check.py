"""Looks at six public models on the Hub, and says whether all is as it should be: `make hub-check`.

    python docs/hub_check.py [--out REPORT.md] [NAME ...]

Six kinds of files, from the config and headers and one layer's tensors of each: some megabytes in
all, into a cache that is thrown away. What is expected was published by those who made the models;
the page of every number is in `MODELS`. The exit code is 0 where everything is as expected, 5 where
something is not, 6 where the Hub cannot be reached. docs/hub-check.md says more.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # as a script, it stands in docs/

from spectrakit import __version__  # noqa: E402
from spectrakit.catalog.records import Record  # noqa: E402
from spectrakit.checkpoints.hub import hub_http  # noqa: E402
from spectrakit.checkpoints.hub_http import UnreachableError  # noqa: E402
from spectrakit.checkpoints.hub_info import repo_info  # noqa: E402
from spectrakit.checkpoints.opening import repo_and_path  # noqa: E402
from spectrakit.errors import BatchFailures, NetworkError, SpectrakitError, scrub  # noqa: E402
from spectrakit.model import Model, open_checkpoint  # noqa: E402
from spectrakit.plain import plain  # noqa: E402
from spectrakit.verification.seeing import Sight, look_at, now  # noqa: E402


@dataclass(frozen=True)
class Expected:
    """A public model, and what is published of it.

    kind: of file. address: what opens it. layers: their number and kinds. parameters: their number.
    file_bytes: of the weight file; None where no page has it to the byte. files: number of weight
    files. in_weights: whether weights mode has a spectrum. config: the options that it was trained
    with, where no file has them. pages: where these numbers are from.
    """

    kind: str
    address: str
    layers: int
    kinds: tuple[str, ...]
    parameters: int
    pages: tuple[str, ...]
    file_bytes: int | None = None
    files: int = 1
    in_weights: bool = True
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called in the report."""
        return self.address.removeprefix("hf://")


HUB = "https://huggingface.co"
S4 = "https://github.com/state-spaces/s4/blob/main/configs"

MODELS = (
    Expected(
        kind="mamba_ssm's .bin, a torch zip",
        address="hf://state-spaces/mamba-130m",
        layers=24,
        kinds=("mamba",),
        # Of d_model 768, n_layer 24 and 50,280 tokens, the output tied to the embedding.
        parameters=129_135_360,
        file_bytes=516_618_642,
        pages=(
            f"{HUB}/state-spaces/mamba-130m/commit/c4dcd5d65dff7d0bff5a4c97e30d82e57190f1b0",
            "https://github.com/state-spaces/mamba#pretrained-models",
        ),
    ),
    Expected(
        kind="safetensors, Mamba of transformers",
        address="hf://state-spaces/mamba-130m-hf",
        layers=24,
        kinds=("mamba",),
        parameters=129_135_360,  # the same model
        pages=("https://huggingface.co/docs/transformers/model_doc/mamba",),
    ),
    Expected(
        kind="safetensors, attention alone",
        address="hf://EleutherAI/pythia-70m",
        layers=6,
        kinds=("softmax_attention",),
        parameters=70_426_624,
        in_weights=False,
        pages=("https://github.com/EleutherAI/pythia#models", f"{HUB}/EleutherAI/pythia-70m"),
    ),
    Expected(
        kind="RWKV's .pth, one of three in its repository, without a config",
        address="hf://BlinkDL/rwkv-4-pile-169m/RWKV-4-Pile-169M-20220807-8023.pth",
        layers=12,
        kinds=("rwkv4",),
        # Of n_layer 12, n_embd 768 and 50,277 tokens.
        parameters=169_342_464,
        file_bytes=338_718_755,
        pages=(
            f"{HUB}/BlinkDL/rwkv-4-pile-169m",
            f"{HUB}/BlinkDL/rwkv-4-pile-169m/commit/ee1b3b102463d879bf14799066f87093537fcfa7",
        ),
    ),
    Expected(
        kind="safetensors in three shards with an index, Falcon Mamba",
        address="hf://tiiuae/falcon-mamba-7b",
        layers=64,
        kinds=("mamba",),
        # Of hidden_size 4096, state_size 16, time_step_rank 256 and 65,024 tokens, not tied.
        parameters=7_272_665_088,
        files=3,
        pages=(
            f"{HUB}/tiiuae/falcon-mamba-7b/blob/8f8c2e27c90269d3e28b706db383e8c914f50b2d/config.json",
            f"{HUB}/tiiuae/falcon-mamba-7b/tree/f1824b9ae1c3267281b98542db43c2395e3886ef",
        ),
    ),
    Expected(
        kind="S4 of state-spaces/s4, a .pt in a folder, without a config",
        address="hf://krandiash/sashimi-release/checkpoints/sashimi_sc09_v4.pt",
        # 8 in the middle and 8 on either of two levels on the way up; none on the way down.
        layers=24,
        kinds=("s4",),
        # Of d_model 64, two pools by 4 that double it, ff 2, 64 states, and 256 codes in and out.
        parameters=4_764_160,
        config={
            "real_transform": "exp",
            "imag_transform": "none",
            "dt_transform": "exp",
            "dt_fast": False,
            "bandlimit": None,
        },
        pages=(
            "https://github.com/state-spaces/s4/blob/main/models/sashimi/README.md",
            f"{S4}/experiment/audio/sashimi-sc09.yaml",
            f"{HUB}/krandiash/sashimi-release/tree/main/checkpoints",
        ),
    ),
)
#: Files hold some buffers beside the parameters.
_PARAMETERS_WITHIN = 0.05


@dataclass(frozen=True)
class Row:
    """One thing that was looked at; expected: None where nothing is."""

    what: str
    seen: str
    expected: str | None
    ok: bool = True


@dataclass
class Result:
    """What came of one model; error: why it ended early."""

    model: Expected
    rows: list[Row] = field(default_factory=list)
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether all is as expected."""
        return self.error is None and all(row.ok for row in self.rows)


def check(model: Expected, cache: Path) -> Result:
    """Look at one model. Raises UnreachableError where there is no Hub."""
    result = Result(model)
    try:
        result.rows += _of_the_hub(model)
        revision = result.rows[0].seen
        with open_checkpoint(
            model.address, revision=revision, config=model.config, cache_dir=cache
        ) as opened:
            record = Record(model.address, "", now(), commit=revision)
            result.rows += _of_headers(model, look_at(opened, record), opened)
            result.rows += _of_tensors(model, opened)
    except UnreachableError:
        raise
    except SpectrakitError as error:
        result.error = str(error)
    return result


def _of_the_hub(model: Expected) -> Iterator[Row]:
    info = repo_info(hub_http(None), repo_and_path(model.address)[0])
    yield Row("commit", info.sha, None)
    yield Row("licence", str(info.license), None)
    yield _equal("gated", _yes_no(bool(info.gated)), "no")


def _of_headers(model: Expected, sight: Sight, opened: Model) -> Iterator[Row]:
    files = opened.checkpoint.files
    seen = sight.record
    yield Row("read by", f"{seen.architecture} ({opened.claimed_by.origin.distribution})", None)
    yield _equal("weight files", str(len(files)), str(model.files))
    if model.file_bytes is not None:
        yield _equal("bytes of the file", f"{files[0].size:,}", f"{model.file_bytes:,}")
    yield _equal("layers", str(seen.layers), str(model.layers))
    yield _equal("kinds of layers", ", ".join(seen.kinds), ", ".join(model.kinds))
    near = abs((seen.parameters or 0) - model.parameters) <= _PARAMETERS_WITHIN * model.parameters
    yield Row("parameters", f"{seen.parameters:,}", f"{model.parameters:,}, within 5 %", near)
    yield Row("tensors", f"{len(opened.checkpoint.tensors):,}", None)
    yield Row("fingerprint of the headers", str(seen.headers), None)
    share = sight.bytes_read / sight.file_bytes
    few = sight.bytes_read < max(0.02 * sight.file_bytes, 4 << 20)
    what = f"{sight.bytes_read:,} of {sight.file_bytes:,} ({share:.2%})"
    yield Row("bytes read for all this", what, "a small part", few)


def _of_tensors(model: Expected, opened: Model) -> Iterator[Row]:
    """The eigenvalues of the first layer that has any in its weights."""
    import torch

    first = next((layer.index for layer in opened.layers if layer.in_weights), None)
    has = first is not None
    yield _equal("spectrum from weights", _yes_no(has), _yes_no(model.in_weights))
    if first is None:
        return
    before = opened.checkpoint.bytes_read
    modulus = opened.recurrence(first).eigenvalues().modulus
    took = opened.checkpoint.bytes_read - before
    inside = bool(torch.isfinite(modulus).all()) and float(modulus.max()) <= 1.0
    shown = f"{float(modulus.min()):.4g} to {float(modulus.max()):.8g}"
    yield Row(f"|eigenvalues| of layer {first}", shown, "at most 1", inside)
    yield Row("bytes read for them", f"{took:,}", None)


def _equal(what: str, seen: str, expected: str) -> Row:
    return Row(what, seen, expected, seen == expected)


def _yes_no(value: bool) -> str:
    return "yes" if value else "no"


def report(results: Sequence[Result], endpoint: str) -> str:
    """The report, in Markdown: what was asked, with what, and every row."""
    as_expected = all(result.ok for result in results)
    libraries = (f"{name} {version(name)}" for name in ("huggingface_hub", "torch"))
    lines = [
        "# Hub check",
        "",
        "All is as expected." if as_expected else "Not all is as expected.",
        "",
        f"- spectrakit {__version__}, {', '.join(libraries)}",
        f"- Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"- {scrub(endpoint)}, {now()}",
    ]
    for result in results:
        lines += ["", f"## {result.model.name}", "", f"{result.model.kind}", ""]
        lines += ["| | seen | expected | |", "|---|---|---|---|"]
        lines += [
            f"| {row.what} | {_cell(row.seen)} | {_cell(row.expected or '')} "
            f"| {'' if row.expected is None else 'ok' if row.ok else '**not so**'} |"
            for row in result.rows
        ]
        if result.error is not None:
            lines += ["", f"**ended early:** {_cell(result.error)}"]
        lines += ["", "Expected by:", "", *(f"- {page}" for page in result.model.pages)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return plain(" ".join(text.split())).replace("|", "\\|")


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, print a line for each, write the report; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("hub-check-report.md"))
    parser.add_argument("names", nargs="*", help="those whose address has one of these in it")
    chosen = parser.parse_args(arguments)
    models = [m for m in MODELS if not chosen.names or any(n in m.address for n in chosen.names)]
    results = []
    with tempfile.TemporaryDirectory() as cache:
        for model in models:
            try:
                result = check(model, Path(cache))
            except UnreachableError as error:
                print(f"error: {error}", file=sys.stderr)
                return NetworkError.exit_code
            results.append(result)
            print(f"{'ok      ' if result.ok else 'NOT SO  '}{model.name}", flush=True)
            for row in result.rows:
                if not row.ok:
                    print(f"        {row.what}: {plain(row.seen)}, expected {row.expected}")
            if result.error is not None:
                print(f"        {result.error}")
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(report(results, hub_http(None).endpoint), encoding="utf-8")
    print(f"\nthe report: {chosen.out}")
    return 0 if all(result.ok for result in results) else BatchFailures.exit_code


if __name__ == "__main__":
    sys.exit(main())
