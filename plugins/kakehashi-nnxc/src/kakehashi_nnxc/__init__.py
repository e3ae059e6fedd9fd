"""Neural exchange-correlation functionals. Everything is in Hartree atomic units.

Registered: ``kh-mgga``, a constrained meta-GGA on r2SCAN, and the four-layer forms of Nagai, Akashi and
Sugino under ``nn-*``. ``load_published`` opens the weight files of the paper.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kakehashi_nnxc.four_layer_form import FourLayerFunctional
    from kakehashi_nnxc.published_weights import load_published

__all__ = ["FourLayerFunctional", "load_published"]

_HOMES = {"FourLayerFunctional": "four_layer_form", "load_published": "published_weights"}


def __getattr__(name: str) -> object:
    # Entry points live in this package, and listing them must not import torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
