"""PyTorch without its compiler, which nothing here uses.

The first optimizer of a process imports torch._dynamo for two functions that do nothing outside a compiled program:
half of what a trainer's start costs (1.4 of 2.8 s of a processor, and 70 MB for each slot; bench/warming.py). A
stand-in has these two; whoever asks it for anything else gets the compiler itself. Import no module below
torch._dynamo beside it: that would be there twice.
"""

import importlib
import sys
import types
from collections.abc import Callable
from typing import Any

import torch

_NAME = "torch._dynamo"


class _StandIn(types.ModuleType):
    """Says what torch.optim asks for; see torch/optim/optimizer.py and torch/_compile.py."""

    @staticmethod
    def graph_break(*_: Any, **__: Any) -> None:
        """End a graph: there is none."""

    @staticmethod
    def disable(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
        """The function, uncompiled as it is; or what leaves functions so."""
        return function or (lambda function: function)

    def __getattr__(self, name: str) -> Any:
        # Those who only look around, as `inspect` does at every module, do not want it.
        if name.startswith("__") and name != "__path__":
            raise AttributeError(name)
        return getattr(_load(), name)


def leave_compiler_out() -> None:
    """Keep torch._dynamo from being imported for its own sake; where it is already, nothing changes."""
    if _NAME not in sys.modules:
        _put(_StandIn(_NAME))


def _load() -> types.ModuleType:
    """The compiler, in the place of its stand-in."""
    if isinstance(sys.modules.get(_NAME), _StandIn):
        del sys.modules[_NAME]
    loaded = importlib.import_module(_NAME)
    _put(loaded)
    return loaded


def _put(module: types.ModuleType) -> None:
    sys.modules[_NAME] = torch._dynamo = module  # noqa: SLF001
