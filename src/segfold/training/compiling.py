"""``torch.compile`` around a network, with the plain network to fall back on."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Compiled:
    """Calls the compiled network; if compiling fails, says so once and goes on with the plain one."""

    def __init__(self, network: nn.Module, say: Callable[[str], None]) -> None:
        # Where there is a CUDA compiler but no GPU, torch says so while it compiles for the CPU.
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
        self._plain: Callable[..., Any] = network
        self._forward: Callable[..., Any] = torch.compile(network)
        self._say = say
        self._worked = False

    def __call__(self, images: Tensor) -> Any:
        try:
            output = self._forward(images)
        except torch.OutOfMemoryError:
            raise  # the plain network needs no less
        except Exception as error:
            if self._worked or self._forward is self._plain:
                raise
            reason = " ".join(str(error).split())[:120]
            self._say(f"torch.compile failed ({type(error).__name__}: {reason}); going on uncompiled")
            self._forward = self._plain
            output = self._forward(images)
        self._worked = True
        return output
