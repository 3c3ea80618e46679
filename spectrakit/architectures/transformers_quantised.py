"""Quantised models of transformers: loaded by transformers itself, with the quantiser's package.

spectrakit's own readers leave packed weights as they are. Which values they stand for is the
quantiser's affair, so the files, which are safetensors alone here, are given to transformers.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from spectrakit._lazy import lazy_import
from spectrakit.architectures.quantisation import not_runnable
from spectrakit.errors import UnsupportedError
from spectrakit.wording import given

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from spectrakit.checkpoints import TensorSource
else:
    torch = lazy_import("torch")

#: What transformers needs for a `quant_method`: modules to import, and how pip calls them. Where a
#: version for CPUs is missing, transformers says so.
_PACKAGES = {
    "awq": {"gptqmodel": "gptqmodel"},
    "bitsandbytes": {"bitsandbytes": "bitsandbytes"},
    "compressed-tensors": {"compressed_tensors": "compressed-tensors"},
    "fbgemm_fp8": {"fbgemm_gpu": "fbgemm-gpu"},
    "fp8": {},
    "gptq": {"gptqmodel": "gptqmodel", "optimum": "optimum"},
    "mxfp4": {"kernels": "kernels"},
    "quanto": {"optimum.quanto": "optimum-quanto"},
    "torchao": {"torchao": "torchao"},
}
_ALWAYS = {"accelerate": "accelerate"}
_CONFIG = "config.json"
#: What libraries raise where they cannot load or run a model.
_FAILURES = (
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_TRIED = 2  # tokens: enough for every layer to compute something


def load_quantised(
    checkpoint: TensorSource,
    model_class: Any,  # noqa: ANN401
    model_config: Any,  # noqa: ANN401
    device: str,
    dtype: str,
) -> tuple[Any, Mapping[str, Any]]:
    """A quantised model, and what transformers reports of its loading.

    Raises UnsupportedError with the reason: nothing says how the weights are quantised, a package
    is missing, or transformers cannot run it on this device.
    """
    method = _method(checkpoint)
    packages: dict[str, str] | None = None if method is None else _PACKAGES.get(method)
    folder = _folder(checkpoint)
    if packages is None or folder is None:
        raise not_runnable(checkpoint)
    missing = [pip for name, pip in (packages | _ALWAYS).items() if not _installed(name)]
    if missing:
        message = (
            f"{checkpoint.model_id} is quantised ({method}), and transformers runs it with "
            f"{' and '.join(missing)}, not installed here"
        )
        raise UnsupportedError(message, hint=f"pip install {' '.join(missing)}")
    try:
        model, report = model_class.from_pretrained(
            str(folder),
            config=model_config,
            dtype=getattr(torch, dtype),
            device_map=device,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        with torch.no_grad():
            model.eval()(torch.zeros(1, _TRIED, dtype=torch.long, device=device))
    except _FAILURES as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        message = f"transformers cannot run {checkpoint.model_id} ({method}) on {device}: {first}"
        raise UnsupportedError(message, hint=given(mode="weights")) from error
    return model, report


def _method(checkpoint: TensorSource) -> str | None:
    section = checkpoint.config.get("quantization_config")
    method = section.get("quant_method") if isinstance(section, dict) else None
    return method if isinstance(method, str) else None


def _folder(checkpoint: TensorSource) -> Path | None:
    """The folder of this disk that has config and safetensors, and nothing else to load."""
    local = checkpoint.localize()
    files = getattr(local, "files", ())
    path = local.file_path(_CONFIG) if files and hasattr(local, "file_path") else None
    if path is None or any(file.format != "safetensors" for file in files):
        return None
    return path.parent if all((path.parent / file.path).is_file() for file in files) else None


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # the package around it is not there
        return False
