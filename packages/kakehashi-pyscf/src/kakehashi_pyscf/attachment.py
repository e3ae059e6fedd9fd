"""Give one mean-field object a kakehashi functional, and keep what PySCF would drop on the way."""

from __future__ import annotations

import copy
import sys
import warnings
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from pyscf import lib
from pyscf.dft import numint

from kakehashi_core import registry
from kakehashi_core.contracts import XCFunctional
from kakehashi_core.errors import DomainWarning, InvalidInputError, UnsupportedError
from kakehashi_pyscf.auxiliary_bases import auxiliary_basis
from kakehashi_pyscf.functional_library import (
    REGISTRY_LIBRARY,
    FunctionalLibrary,
    convolution_of,
    stand_in,
)
from kakehashi_pyscf.nonlocal_gradients import NonlocalGradientsMixin, refuse_incomplete
from kakehashi_pyscf.nonlocal_integration import ConvolutionMode, NonlocalNumInt

if TYPE_CHECKING:
    from pyscf.dft.rks import KohnShamDFT


class FunctionalMixin:
    """What ``attach`` adds to the class of a mean-field object."""

    __name_mixin__ = "Kakehashi"

    def nuc_grad_method(self) -> Any:
        """Return the gradient object with the response of the grid switched on.

        Without it the gradient of a neural functional is off by up to 1e-3 hartree/bohr at level 3.
        """
        mf = cast(Any, self)
        if _is_nonlocal(mf):
            refuse_incomplete(mf._numint, mf.xc)
        gradients = super().nuc_grad_method()  # type: ignore[misc]
        gradients.grid_response = True
        # A solvent model has asked the object inside it already.
        mixed_in = isinstance(gradients, NonlocalGradientsMixin)
        if isinstance(mf._numint, NonlocalNumInt) and not mixed_in:
            gradients = gradients.view(lib.make_class((NonlocalGradientsMixin, type(gradients))))
        return gradients

    Gradients = nuc_grad_method

    def density_fit(self, auxbasis: Any = None, with_df: Any = None, only_dfj: bool = False) -> Any:
        """Fit the Coulomb interaction; the auxiliary basis is chosen as for any semilocal functional.

        PySCF asks libxc, by name, whether the functional is a hybrid before it picks the default
        auxiliary basis, which fails for a foreign name; a stand-in of the same class is asked instead.
        """
        plain = _detached(self)
        name, plain.xc = plain.xc, stand_in(plain._numint.libxc, plain.xc)
        fitted = plain.density_fit(auxbasis, with_df, only_dfj)
        fitted.xc = name
        # The density-fitting layer overrides nuc_grad_method, so ours has to go back on top of it.
        return _with_mixin(fitted)

    def do_nlc(self) -> bool:
        """Refuse VV10 on top of our functionals: nobody has fitted its parameters for them."""
        mf = cast(Any, self)
        if mf.nlc and mf._numint.libxc.is_ours(mf.xc):
            raise InvalidInputError(
                f"mf.nlc is {mf.nlc!r}, but no non-local correlation is parametrized for {mf.xc!r}; "
                "leave mf.nlc empty"
            )
        return cast(bool, super().do_nlc())  # type: ignore[misc]

    def Hessian(self, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 (PySCF's name)
        """Return PySCF's Hessian object; refused for non-local functionals.

        Raises:
            UnsupportedError: If the functional is non-local.
        """
        self._refuse_nonlocal("analytic Hessians", "differentiate gradients numerically")
        return super().Hessian(*args, **kwargs)  # type: ignore[misc]

    def to_gks(self, *args: Any, **kwargs: Any) -> Any:
        """Return a generalized Kohn-Sham object; refused for non-local functionals.

        Raises:
            UnsupportedError: If the functional is non-local.
        """
        self._refuse_nonlocal("generalized Kohn-Sham (GKS)", "use RKS, UKS or ROKS")
        return super().to_gks(*args, **kwargs)  # type: ignore[misc]

    def _refuse_nonlocal(self, what: str, advice: str) -> None:
        if _is_nonlocal(self):
            raise UnsupportedError(
                f"{what} of the non-local functional {cast(Any, self).xc!r} do not exist; {advice}, or use "
                "a functional of family LDA, GGA or MGGA"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        # PySCF composes classes at run time, which pickle cannot find by name; send the recipe instead.
        return (_restore, (class_recipe(type(self)), cast(Any, self).__getstate__()))

    def to_gpu(self, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse: gpu4pyscf builds its own integrator, which would lose the functional silently."""
        name = cast(Any, self).xc
        raise UnsupportedError(
            f"to_gpu() would silently drop the functional {name!r}: gpu4pyscf evaluates functionals with "
            "its own library. Stay on the CPU; the functional alone is evaluated on a GPU if it was loaded "
            "with device='cuda'"
        )


def attach(
    mf: KohnShamDFT,
    xc: str | XCFunctional | None = None,
    *,
    name: str = "",
    convolution: ConvolutionMode | None = None,
) -> Any:
    """Return a copy of a Kohn-Sham object whose functional kakehashi answers for.

    Only this object is affected; nothing is patched. Names that libxc knows keep working, so the call is
    harmless for any functional.

    Args:
        mf: RKS, UKS, ROKS or GKS object, molecular or periodic, also density-fitted.
        xc: Registry name, libxc name, or a functional object; None keeps ``mf.xc``.
        name: Name under which a functional object is known to ``mf.xc``; by default its own ``name``.
        convolution: How the density of a non-local functional is convolved: "density-fit", or "grid" for
            the quadrature on the integration grid that NN-NRA was published with (slow, no gradients).
            None keeps what ``mf`` has, "density-fit" at first. Local functionals take no notice.

    Returns:
        An object of the same kind. Nuclear gradients include the response of the grid.

    Raises:
        UnknownNameError: If neither kakehashi nor libxc knows the name (the closest ones are listed).
        InvalidInputError: If the name stands in an expression or carries a dispersion suffix, or if a
            coordinate is not finite.
        UnsupportedError: If the functional is non-local and ``mf`` is periodic or GKS.
        PluginLoadError: If the plugin behind the name cannot be used.

    Example:
        >>> from pyscf import dft, gto
        >>> mol = gto.M(atom="H 0 0 0; H 0 0 0.74", basis="sto-3g", verbose=0)
        >>> bool(attach(dft.RKS(mol, xc="nn-mgga")).run().converged)
        True
    """
    if not hasattr(mf, "_numint") or not hasattr(mf, "xc"):
        raise InvalidInputError(
            f"attach() needs a Kohn-Sham object (RKS, UKS, ROKS, GKS), got {type(mf).__name__}"
        )
    if xc is None or isinstance(xc, str):
        library: FunctionalLibrary = REGISTRY_LIBRARY
        current = mf._numint.libxc
        if isinstance(current, FunctionalLibrary):
            library = current
        xc_name = mf.xc if xc is None else xc
    else:
        xc_name = registry.normalize_name(name or getattr(xc, "name", ""))
        if not xc_name:
            raise InvalidInputError("this functional object has no name; pass name='...'")
        library = FunctionalLibrary({xc_name: xc})
    _check_geometry(mf)
    integrator = _integrator(mf, library, xc_name, convolution)
    for text in domain_warnings(mf, xc_name):
        warnings.warn(text, DomainWarning, stacklevel=2)
    attached: Any = mf if isinstance(mf, FunctionalMixin) else _with_mixin(mf)
    attached = attached.copy()
    attached._numint = integrator
    attached.xc = xc_name
    return attached


def _integrator(
    mf: Any, library: FunctionalLibrary, name: str, convolution: ConvolutionMode | None
) -> Any:
    """Return the integrator that the functional needs, with the settings of the present one."""
    functional = library.find(name)
    present = mf._numint
    if functional is None or functional.family != "NONLOCAL":
        library.xc_type(name)
        local = copy.copy(present)
        if isinstance(present, NonlocalNumInt):
            local = numint.NumInt()
            local.cutoff, local.omega = present.cutoff, present.omega
        local.libxc = library
        return local
    convolution_of(functional, name)
    if type(present) not in (numint.NumInt, NonlocalNumInt):
        raise UnsupportedError(
            f"the non-local functional {name!r} is available for molecular RKS, UKS and ROKS, got "
            f"{type(mf).__name__} with the integrator {type(present).__module__}."
            f"{type(present).__name__} (GKS, DKS, periodic and multigrid objects have their own); use a "
            "functional of family LDA, GGA or MGGA there"
        )
    auxiliary_basis(mf.mol)
    if convolution is None:
        convolution = present.convolution if isinstance(present, NonlocalNumInt) else "density-fit"
    integrator = NonlocalNumInt(library, convolution)
    integrator.cutoff, integrator.omega = present.cutoff, present.omega
    return integrator


def _is_nonlocal(mf: Any) -> bool:
    integrator = mf._numint
    return (
        isinstance(integrator, NonlocalNumInt) and integrator.nonlocal_functional(mf.xc) is not None
    )


def domain_warnings(mf: Any, xc: str | None = None) -> tuple[str, ...]:
    """Return remarks on how far a calculation lies outside the functional's training domain."""
    name = mf.xc if xc is None else xc
    try:
        spec = registry.find("xc", name).spec
    except KeyError:
        return ()
    molecule = mf.mol
    elements = {molecule.atom_pure_symbol(i) for i in range(molecule.natm)}
    elements = {e for e in elements if not e.lower().startswith(("ghost", "x-"))}
    outside = spec.domain.outside(elements) if spec is not None else ()
    if spec is None or not outside:
        return ()
    return (
        f"{spec.name} was not trained on {', '.join(outside)}; it knows "
        f"{', '.join(spec.domain.elements)}",
    )


def _check_geometry(mf: Any) -> None:
    molecule = mf.mol
    coordinates = molecule.atom_coords()
    bad = np.flatnonzero(~np.isfinite(coordinates).all(axis=1))
    if bad.size:
        raise InvalidInputError(
            f"atom {int(bad[0])} ({molecule.atom_symbol(int(bad[0]))}) has the position "
            f"{coordinates[bad[0]].tolist()} bohr; every coordinate must be finite"
        )


def _with_mixin(mf: Any) -> Any:
    return mf.view(lib.make_class((FunctionalMixin, type(mf))))


def _detached(mf: Any) -> Any:
    return mf.view(lib.drop_class(type(mf), FunctionalMixin))


def class_recipe(cls: type) -> Any:
    """Return an importable class, or nested tuples of the importable classes it was composed of."""
    module = sys.modules.get(cls.__module__)
    if getattr(module, cls.__qualname__, None) is cls:
        return cls
    return tuple(class_recipe(base) for base in cls.__bases__)


def composed(recipe: Any) -> type:
    """Return the class that ``class_recipe`` took apart."""
    if isinstance(recipe, type):
        return recipe
    return cast(type, lib.make_class(tuple(composed(part) for part in recipe)))


def _restore(recipe: Any, state: dict[str, Any]) -> Any:
    mf: Any = object.__new__(composed(recipe))
    mf.__setstate__(state)
    return mf
