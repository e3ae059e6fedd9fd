"""The object that stands where PySCF expects ``pyscf.dft.libxc``.

Registered names (and functionals handed in directly) are answered here; every other name goes to libxc
untouched, so results without our names are bit-identical.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pyscf.dft import libxc

from kakehashi_core import registry
from kakehashi_core.contracts import NonlocalXCFunctional, XCFunctional
from kakehashi_core.errors import InvalidInputError, UnknownNameError, UnsupportedError, suggest
from kakehashi_core.gaussian_kernels import GaussianKernel
from kakehashi_pyscf.density_variables import density_variables
from kakehashi_pyscf.derivatives import MAX_DERIVATIVE, xc_derivatives


class GridResponseWarning(UserWarning):
    """A gradient of a neural functional was computed without the response of the grid."""


_GRID_RESPONSE_ADVICE = (
    "nuclear gradient of {name!r} without the response of the integration grid: errors reach 1e-3 "
    "hartree/bohr at grid level 3. Set grad.grid_response = True, or use kakehashi_pyscf.attach(mf), "
    "which does it for you."
)


@lru_cache(maxsize=64)
def _load(name: str, distribution: str) -> XCFunctional:
    # The distribution is part of the key, so that a conflict resolved later is seen.
    del distribution
    return cast(XCFunctional, registry.load("xc", name))


@lru_cache(maxsize=256)
def libxc_knows(name: str) -> bool:
    """Return whether libxc itself can evaluate ``name``."""
    try:
        libxc.parse_xc(name)
    except (KeyError, ValueError, NotImplementedError):
        return False
    return True


class FunctionalLibrary:
    """A look-alike of the module ``pyscf.dft.libxc`` that also serves kakehashi functionals.

    Args:
        functionals: Functionals that are in no registry, by the name under which ``mf.xc`` asks for them.
    """

    __name__ = "kakehashi_pyscf.functional_library"
    __version__ = libxc.__version__
    __reference__ = getattr(libxc, "__reference__", "")

    def __init__(self, functionals: Mapping[str, XCFunctional] | None = None) -> None:
        self._functionals = {
            registry.normalize_name(name): functional
            for name, functional in (functionals or {}).items()
        }

    def __reduce__(self) -> tuple[Callable[..., FunctionalLibrary], tuple[Any, ...]]:
        return (_rebuild, (self._functionals,))

    def __repr__(self) -> str:
        return f"FunctionalLibrary({', '.join(self.names())})"

    def __getattr__(self, attribute: str) -> Any:
        # Constants and helpers of the module that take no functional name (XC_CODES, libxc_version, ...).
        return getattr(libxc, attribute)

    def names(self) -> tuple[str, ...]:
        """Return every name answered here instead of by libxc, sorted."""
        registered = (n for n in registry.entry_names("xc") if not libxc_knows(n))
        return tuple(sorted({*self._functionals, *registered}))

    def find(self, xc_code: object) -> XCFunctional | None:
        """Return the functional behind ``xc_code``, or None when libxc is to answer.

        Raises:
            InvalidInputError: If one of our names stands in an expression or carries a suffix.
            PluginLoadError: If the name is registered but cannot be used.
        """
        if not isinstance(xc_code, str):
            return None
        name = registry.normalize_name(xc_code.strip())
        if name in self._functionals:
            return self._functionals[name]
        known = self.names()
        if name.rpartition(":")[2] in known:
            return _load(name, registry.find("xc", name).distribution)
        _refuse_expressions(xc_code, name, known)
        return None

    def is_ours(self, xc_code: object) -> bool:
        """Return whether ``xc_code`` names a kakehashi functional."""
        return self.find(xc_code) is not None

    def _ask_libxc(self, function: str, xc_code: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(libxc, function)(xc_code, *args, **kwargs)
        except KeyError as error:
            if not isinstance(xc_code, str):
                raise
            theirs = {**libxc.XC_ALIAS, **libxc.XC_CODES}
            candidates = (*self.names(), *(key.lower() for key in theirs))
            raise UnknownNameError(
                f"unknown functional {xc_code!r}.{suggest(xc_code.lower(), candidates)} Registered with "
                f"kakehashi: {', '.join(self.names())}; everything else must be a name that libxc knows"
            ) from error

    # What PySCF asks about a functional -------------------------------------------------------------

    def xc_type(self, xc_code: Any) -> str:
        """Return "LDA", "GGA" or "MGGA"."""
        functional = self.find(xc_code)
        if functional is None:
            return cast(str, self._ask_libxc("xc_type", xc_code))
        if functional.family == "NONLOCAL":
            # Only the integrator of attach() can build the convolved density; it does not ask here.
            raise UnsupportedError(
                f"{xc_code!r} is a non-local functional: its convolved density is built by the integrator "
                "that kakehashi_pyscf.attach(mf, xc) installs, for energies and gradients of molecular "
                "RKS, UKS and ROKS. This object or method has PySCF's own integrator: use attach() on a "
                "molecular object, or a functional of family LDA, GGA or MGGA"
            )
        return functional.family

    def is_lda(self, xc_code: Any) -> bool:
        """Return whether only the density is read."""
        return self.xc_type(xc_code) == "LDA"

    def is_gga(self, xc_code: Any) -> bool:
        """Return whether the density and its gradient are read."""
        return self.xc_type(xc_code) == "GGA"

    def is_meta_gga(self, xc_code: Any) -> bool:
        """Return whether the kinetic-energy density is read."""
        return self.xc_type(xc_code) == "MGGA"

    def is_hybrid_xc(self, xc_code: Any) -> bool:
        """Return whether exact exchange is mixed in."""
        if isinstance(xc_code, (tuple, list)):
            return any(self.is_hybrid_xc(part) for part in xc_code)
        functional = self.find(xc_code)
        if functional is None:
            return cast(bool, self._ask_libxc("is_hybrid_xc", xc_code))
        return functional.hybrid != 0.0

    def hybrid_coeff(self, xc_code: Any, spin: int = 0) -> float:
        """Return the fraction of exact exchange."""
        functional = self.find(xc_code)
        if functional is None:
            return cast(float, self._ask_libxc("hybrid_coeff", xc_code, spin))
        return functional.hybrid

    def rsh_coeff(self, xc_code: Any) -> tuple[float, float, float]:
        """Return the range-separation parameters (omega, alpha, beta)."""
        functional = self.find(xc_code)
        if functional is None:
            return cast(tuple[float, float, float], self._ask_libxc("rsh_coeff", xc_code))
        return (0.0, 0.0, 0.0)

    def nlc_coeff(self, xc_code: Any) -> Any:
        """Return the VV10 parameters; none for our functionals."""
        return () if self.is_ours(xc_code) else self._ask_libxc("nlc_coeff", xc_code)

    def is_nlc(self, xc_code: Any) -> bool:
        """Return whether VV10 is part of the functional."""
        if isinstance(xc_code, (tuple, list)):
            return any(self.is_nlc(part) for part in xc_code)
        return False if self.is_ours(xc_code) else cast(bool, self._ask_libxc("is_nlc", xc_code))

    def needs_laplacian(self, xc_code: Any) -> bool:
        """Return whether the Laplacian of the density is read."""
        if self.is_ours(xc_code):
            return False
        return cast(bool, self._ask_libxc("needs_laplacian", xc_code))

    def max_deriv_order(self, xc_code: Any) -> int:
        """Return the highest derivative order on offer."""
        functional = self.find(xc_code)
        if functional is None:
            return cast(int, self._ask_libxc("max_deriv_order", xc_code))
        return min(functional.max_deriv, MAX_DERIVATIVE)

    def test_deriv_order(self, xc_code: Any, deriv: int, raise_error: bool = False) -> bool:
        """Return whether derivatives of order ``deriv`` exist.

        Raises:
            UnsupportedError: If they do not and ``raise_error`` is set.
        """
        if not self.is_ours(xc_code):
            return cast(bool, self._ask_libxc("test_deriv_order", xc_code, deriv, raise_error))
        highest = self.max_deriv_order(xc_code)
        if deriv > highest and raise_error:
            raise UnsupportedError(
                f"{xc_code!r} offers derivatives up to order {highest}, order {deriv} was requested "
                "(order 2 serves TDDFT, Newton and Hessians; order 3 would serve TDDFT gradients)"
            )
        return deriv <= highest

    def parse_xc(self, description: Any) -> Any:
        """Return libxc's parse; ours are refused, they have no libxc components."""
        if self.is_ours(description):
            raise UnsupportedError(f"{description!r} is not built from libxc components")
        return self._ask_libxc("parse_xc", description)

    def xc_reference(self, xc_code: Any) -> Any:
        """Return the literature references of a functional."""
        if not self.is_ours(xc_code):
            return self._ask_libxc("xc_reference", xc_code)
        name = registry.normalize_name(xc_code)
        if name in self._functionals:
            return [name]
        spec = registry.find("xc", name).spec
        return [spec.citation.text if spec is not None else name]

    # Evaluation -------------------------------------------------------------------------------------

    def eval_xc1(
        self, xc_code: Any, rho: npt.ArrayLike, spin: int = 0, deriv: int = 1, omega: Any = None
    ) -> npt.NDArray[np.float64]:
        """Evaluate with rows in xcfun order; see ``kakehashi_pyscf.derivatives``."""
        functional = self.find(xc_code)
        if functional is None:
            return cast(
                "npt.NDArray[np.float64]",
                self._ask_libxc("eval_xc1", xc_code, rho, spin, deriv, omega),
            )
        _refuse_omega(xc_code, omega)
        self.test_deriv_order(xc_code, deriv, raise_error=True)
        _warn_without_grid_response(xc_code)
        polarized: Any = 1 if spin else 0
        variables = density_variables(rho, self.xc_type(xc_code), polarized)
        return xc_derivatives(functional, variables, polarized, deriv)

    def eval_xc_eff(
        self,
        xc_code: Any,
        rho: Any,
        deriv: int = 1,
        omega: Any = None,
        spin: int | None = None,
    ) -> Any:
        """Evaluate derivatives with respect to the density and its gradient components."""
        if not self.is_ours(xc_code):
            return self._ask_libxc("eval_xc_eff", xc_code, rho, deriv, omega, spin)
        from pyscf.dft import xc_deriv

        family = self.xc_type(xc_code)
        rho = np.asarray(rho, order="C", dtype=np.float64)
        if family == "MGGA" and rho.shape[-2] == 6:
            rho = np.ascontiguousarray(rho[..., [0, 1, 2, 3, 5], :])
        if spin is None:
            spin = int(rho.ndim >= 2 and rho.shape[0] == 2)
        out = self.eval_xc1(xc_code, rho, spin, deriv, omega)
        return xc_deriv.transform_xc(rho, out, family, spin, deriv)

    def eval_xc(
        self,
        xc_code: Any,
        rho: Any,
        spin: int = 0,
        relativity: int = 0,
        deriv: int = 1,
        omega: Any = None,
        verbose: Any = None,
    ) -> Any:
        """Evaluate in libxc's classic layout (exc, vxc, fxc, kxc), up to first derivatives for ours."""
        if not self.is_ours(xc_code):
            return self._ask_libxc("eval_xc", xc_code, rho, spin, relativity, deriv, omega, verbose)
        if deriv > 1:
            raise UnsupportedError(
                "the classic eval_xc layout serves derivatives up to order 1 for kakehashi "
                "functionals; use eval_xc1 or eval_xc_eff for order 2"
            )
        rows = self.eval_xc1(xc_code, rho, spin, deriv, omega)
        if deriv == 0:
            return rows[0], None, None, None
        family = self.xc_type(xc_code)
        blocks = {"LDA": [1], "GGA": [1, 1], "MGGA": [1, 1, 1]}
        if spin:
            blocks = {"LDA": [2], "GGA": [2, 3], "MGGA": [2, 3, 2]}
        split = np.split(rows[1:], np.cumsum(blocks[family])[:-1])
        vxc: list[Any] = [part.T if spin else part[0] for part in split]
        if family == "GGA":
            vxc += [None, None]
        elif family == "MGGA":
            vxc.insert(2, None)
        else:
            vxc += [None, None, None]
        return rows[0], tuple(vxc), None, None

    def define_xc_(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: PySCF's define_xc_ patches bound functions and breaks for GKS."""
        raise UnsupportedError(
            "define_xc_ does not combine with kakehashi functionals; pass your own functional object "
            "to kakehashi_pyscf.attach(mf, functional) instead"
        )


def convolution_of(functional: XCFunctional, name: str) -> GaussianKernel:
    """Return the kernel of a non-local functional.

    Raises:
        InvalidInputError: If the functional does not say what it convolves the density with.
    """
    kernel = functional.convolution if isinstance(functional, NonlocalXCFunctional) else None
    if not isinstance(kernel, GaussianKernel):
        raise InvalidInputError(
            f"{name!r} is of family NONLOCAL but its attribute 'convolution' is {kernel!r}; it must be a "
            "kakehashi_core.GaussianKernel, for instance GaussianKernel.exponential(0.2)"
        )
    return kernel


REGISTRY_LIBRARY = FunctionalLibrary()
"""Serves registered names; shared by every object attached by name and by ``enable()``."""


def stand_in(library: Any, xc: Any) -> Any:
    """Return a libxc name of the same class as ``xc``, for host code that asks libxc by name.

    Names that are not ours come back unchanged.
    """
    if not isinstance(library, FunctionalLibrary) or not library.is_ours(xc):
        return xc
    return "pbe0" if library.is_hybrid_xc(xc) else "pbe"


def _rebuild(functionals: dict[str, XCFunctional]) -> FunctionalLibrary:
    return FunctionalLibrary(functionals) if functionals else REGISTRY_LIBRARY


def _refuse_expressions(xc_code: str, name: str, known: tuple[str, ...]) -> None:
    for ours in known:
        if ours not in name:
            continue
        before, _, after = name.partition(ours)
        if after.startswith(("-d3", "-d4", "-3c", "-vv10")) and not before:
            raise InvalidInputError(
                f"{xc_code!r}: no dispersion correction is parametrized for {ours!r}; use xc={ours!r}, "
                "and add a correction with explicit parameters of your own if you need one"
            )
        # "my-nn-mgga-2" is somebody else's name; "0.5*nn-mgga+..." and "nn-mgga,pbe" are arithmetic.
        if (not before or before[-1] in "*+,- ") and (not after or after[0] in "*+,- "):
            raise InvalidInputError(
                f"{xc_code!r}: {ours!r} cannot be scaled or combined with other functionals; use the "
                f"bare name xc={ours!r}"
            )


def _refuse_omega(xc_code: Any, omega: Any) -> None:
    if omega:
        raise UnsupportedError(f"{xc_code!r} is not range-separated; omega={omega} has no meaning")


def _warn_without_grid_response(xc_code: str) -> None:
    """Warn when the caller is PySCF's gradient code without grid response.

    The evaluation itself looks the same in an SCF and in a gradient, so the caller is the only witness.
    """
    frame = sys._getframe(2)
    for _ in range(4):
        if frame is None:
            return
        module = frame.f_globals.get("__name__", "")
        if module.startswith("pyscf.grad.") and frame.f_code.co_name == "get_vxc":
            warnings.warn(
                _GRID_RESPONSE_ADVICE.format(name=xc_code), GridResponseWarning, stacklevel=2
            )
            return
        frame = cast(Any, frame.f_back)
