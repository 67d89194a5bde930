"""The device a client computes on and the number format of its arithmetic."""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch

from client_app.training.errors import DeviceError, DeviceMemoryError
from fmtl_strategies.contract.settings import Precision

_GPU_HINT = (
    "in a simulation Flower hides the GPUs unless the run's federation config gives clients a share of one "
    "(client-resources-num-gpus = 1.0 or a fraction); on a site check the driver and that torch is a CUDA build; "
    "or set the client's device to cpu"
)

_MEMORY_WORDS = re.compile(r"out of memory|ALLOC_FAILED", re.IGNORECASE)


@dataclass(frozen=True)
class Arithmetic:
    """Where and in which number format a client trains.

    Attributes:
        device: a CPU or one GPU.
        dtype: autocast's dtype, or None for plain float32.
    """

    device: torch.device
    dtype: torch.dtype | None

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which the forward pass runs."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Return a loss scaler; it does nothing unless the format is float16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)


def choose_arithmetic(device: str, precision: Precision) -> Arithmetic:
    """Resolve a client's device and the run's precision.

    Args:
        device: `auto` (first GPU if there is one), `cpu`, `cuda` or `cuda:N`.
        precision: `auto` means bfloat16 on a GPU and float32 on a CPU.

    Raises:
        DeviceError: no such GPU, or float16 on a CPU.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = ("cuda" if count else "cpu") if device == "auto" else device
    resolved = torch.device(name)
    if resolved.type == "cuda":
        if not count:
            raise DeviceError(f"device = {device!r}, but torch sees no GPU: {_GPU_HINT}")
        if resolved.index is not None and resolved.index >= count:
            raise DeviceError(f"device = {device!r}, but torch sees {count} GPU(s), numbered from 0: {_GPU_HINT}")
        resolved = torch.device("cuda", resolved.index or 0)
    on_gpu = resolved.type == "cuda"
    if precision == "float16" and not on_gpu:
        raise DeviceError(
            f"precision = 'float16' needs a GPU and this client's device is {resolved}; use auto, float32 or bfloat16"
        )
    by_name = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
    by_name["auto"] = torch.bfloat16 if on_gpu else None
    return Arithmetic(resolved, by_name[precision])


@contextmanager
def reproducible_kernels(*, allow_tf32: bool = True) -> Iterator[None]:
    """Let cuDNN choose only deterministic kernels, and the same ones each time.

    Args:
        allow_tf32: let convolutions of float32 values round them to ten bits, as PyTorch does by default.
    """
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=allow_tf32):
        yield


@contextmanager
def explain_out_of_memory(
    client: str, batch_size: int, image_size: tuple[int, int], device: torch.device
) -> Iterator[None]:
    """Turn a GPU's out-of-memory error into a sentence that names the settings to lower.

    Raises:
        DeviceMemoryError: the device ran out of memory inside the block.
    """
    try:
        yield
    except RuntimeError as error:
        # cuBLAS, cuDNN and pinned memory report a full GPU as plain runtime errors.
        if not isinstance(error, torch.OutOfMemoryError) and not _MEMORY_WORDS.search(str(error)):
            raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
        height, width = image_size
        raise DeviceMemoryError(
            f"client {client}: {device} ran out of memory with batch-size {batch_size} and image-size "
            f"[{height}, {width}]. Lower batch-size first, then image-size or decoder-width, or use a smaller encoder; "
            f"if several clients share this GPU, give each a larger share (client-resources-num-gpus)."
        ) from error
