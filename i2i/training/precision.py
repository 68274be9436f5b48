"""Which device and which number format a run computes in."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch

from i2i.errors import UserError

PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Precision:
    """A number format on a device. Weights, optimizer, averages and losses stay in float32 in any case."""

    name: str
    device: torch.device

    def autocast(self) -> AbstractContextManager:
        """The region in which the networks run."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.name == "bf16" else torch.float16)

    @property
    def scaled(self) -> bool:
        """Whether gradients need a scaler: float16 has too small a range for them."""
        return self.name == "fp16"


def choose_device(name: str = "auto") -> torch.device:
    """auto: CUDA, else Apple's MPS, else the CPU. Raises UserError for a device that is not there."""
    if name == "auto":
        available = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(available)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        known = "Expected one of" not in reason  # else torch lists some twenty kinds that few have heard of
        raise UserError(
            f"there is no device '{name}' here" + (f" ({reason})" if known else ""),
            "--device cpu works everywhere; there are also auto, cuda, cuda:1 and mps",
        ) from None
    return device


def choose_precision(name: PrecisionName, device: torch.device) -> Precision:
    """auto: bfloat16 where the hardware computes with it, since it is faster there; else float32."""
    if name == "auto":
        name = "bf16" if _has_bfloat16(device) else "fp32"
    if name == "fp16" and device.type == "cpu":
        raise UserError("fp16 is slow and narrow on the CPU", "--precision bf16 or fp32")
    return Precision(name, device)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
