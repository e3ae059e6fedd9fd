"""A reversible, process-wide switch that lets plain PySCF scripts use kakehashi functionals by name."""

from __future__ import annotations

import threading
import warnings
from types import TracebackType
from typing import Any, Self

from pyscf.df import addons
from pyscf.dft import libxc
from pyscf.dft.numint import LibXCMixin

from kakehashi_core.errors import KakehashiError
from kakehashi_pyscf.functional_library import REGISTRY_LIBRARY, stand_in

_lock = threading.Lock()
_depth = 0
_owner: int | None = None
_pyscf_auxbasis = addons.predefined_auxbasis


def _auxbasis_for_any_functional(mol: Any, basis: Any, xc: Any = "HF", mp2fit: bool = False) -> Any:
    """Pick the auxiliary basis as PySCF does, asking with a name that libxc understands."""
    return _pyscf_auxbasis(mol, basis, stand_in(REGISTRY_LIBRARY, xc), mp2fit)


class SwitchError(KakehashiError, RuntimeError):
    """The process-wide switch found somebody else's object where libxc or ours should be."""


class Enabled:
    """Handle of one ``enable()``; leaving the ``with`` block undoes exactly that one."""

    def __init__(self) -> None:
        self._active = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disable()

    def disable(self) -> None:
        """Undo this ``enable()``; a second call does nothing."""
        if self._active:
            self._active = False
            disable()


def enable() -> Enabled:
    """Let every Kohn-Sham object of this process resolve kakehashi names in ``mf.xc``.

    Two attributes of PySCF are replaced: ``LibXCMixin.libxc`` by an object that passes every name which is
    not ours to libxc untouched, and ``pyscf.df.addons.predefined_auxbasis``, which asks libxc by name, so
    that ``density_fit()`` finds its default. Calls are counted. PySCF's own defaults apply: nuclear gradients
    come without grid response (a warning says so); ``attach`` switches it on. Non-local functionals need the
    integrator that ``attach`` installs: under ``enable()`` alone they raise ``UnsupportedError``.

    Returns:
        A handle: use it as a context manager, or call ``disable()``.

    Raises:
        SwitchError: If something other than libxc stands there already.
    """
    global _depth, _owner
    with _lock:
        if _depth == 0:
            if LibXCMixin.libxc is not libxc:
                raise SwitchError(
                    f"LibXCMixin.libxc is {LibXCMixin.libxc!r}, not pyscf.dft.libxc: another package has "
                    "replaced it. Undo that first, or use kakehashi_pyscf.attach(mf)"
                )
            LibXCMixin.libxc = REGISTRY_LIBRARY
            addons.predefined_auxbasis = _auxbasis_for_any_functional
            _owner = threading.get_ident()
        elif _owner != threading.get_ident():
            warnings.warn(
                "kakehashi_pyscf.enable() is process-wide and was switched on by another thread; "
                "attach(mf) is the thread-safe way",
                RuntimeWarning,
                stacklevel=2,
            )
        _depth += 1
    return Enabled()


def disable() -> None:
    """Undo one ``enable()``; the last one gives libxc back.

    Raises:
        SwitchError: If it is not enabled, or if something else was put in place meanwhile.
    """
    global _depth, _owner
    with _lock:
        if _depth == 0:
            raise SwitchError("kakehashi_pyscf is not enabled; there is nothing to disable")
        if _depth == 1:
            if LibXCMixin.libxc is not REGISTRY_LIBRARY:
                raise SwitchError(
                    f"LibXCMixin.libxc was replaced by {LibXCMixin.libxc!r} while kakehashi was enabled; "
                    "it is left as it is"
                )
            LibXCMixin.libxc = libxc
            addons.predefined_auxbasis = _pyscf_auxbasis
            _owner = None
        _depth -= 1


def is_enabled() -> bool:
    """Return whether the process-wide switch is on."""
    return _depth > 0
