"""The auxiliary basis in which non-local functionals fit the density, and its convolution with a kernel."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
from pyscf import gto
from pyscf.lib.exceptions import BasisNotFoundError

from kakehashi_core.errors import InvalidInputError
from kakehashi_core.gaussian_kernels import GaussianKernel

AuxiliaryBasis = str | Mapping[str, object]

AUXBASIS = "def2-universal-jkfit"
"""The auxiliary basis that the numbers of non-local functionals are defined with."""

MAX_PRIMITIVES = 32
"""Primitives per shell; PySCF's grid evaluator has fixed buffers of NPRIMAX = 40."""


def auxiliary_basis(mol: gto.Mole, auxbasis: AuxiliaryBasis = AUXBASIS) -> dict[str, object]:
    """Return an auxiliary basis for every atom of a molecule.

    Raises:
        InvalidInputError: If the basis does not cover an element.
    """
    if not isinstance(auxbasis, str):
        return dict(auxbasis)
    out: dict[str, object] = {}
    for symbol in sorted({atom[0] for atom in mol._atom}):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # PySCF advertises another package
                out.update(mol.format_basis({symbol: auxbasis}))
        except BasisNotFoundError as error:
            raise InvalidInputError(
                f"the auxiliary basis {auxbasis!r}, in which non-local functionals fit the density, has no "
                f"functions for {symbol!r}; use a functional of family LDA, GGA or MGGA for this element"
            ) from error
    return out


def spherical(auxmol: gto.Mole) -> gto.Mole:
    """Return the basis in spherical form: only there is a convolved function of the same kind."""
    if not auxmol.cart:
        return auxmol
    out = auxmol.copy(deep=False)
    out.cart = False
    return out


def convolved_basis(
    auxmol: gto.Mole, kernel: GaussianKernel
) -> tuple[gto.Mole, npt.NDArray[np.intp]]:
    """Convolve every function of a spherical basis with a kernel.

    Args:
        auxmol: The basis.
        kernel: Sum of K Gaussians.

    Returns:
        A molecule whose shells have the convolved functions, split so that none has more than
        ``MAX_PRIMITIVES`` primitives, and for each of its functions the index of the function of ``auxmol``
        that it is a part of.

    Source:
        S_lm exp(-b r^2) convolved with exp(-a r^2) is (pi/(a+b))^(3/2) (a/(a+b))^l S_lm exp(-ab/(a+b) r^2);
        tested against closed forms. Coefficients go straight into the integral environment, where they
        are normalized already: the basis parser would normalize the convolved functions again.
    """
    kernel_exponents = np.array(kernel.exponents)[:, None]
    kernel_coefficients = np.array(kernel.coefficients)[:, None]
    shells: list[npt.NDArray[np.int32]] = []
    environment = [np.asarray(auxmol._env, dtype=np.float64)]
    pointer = environment[0].size
    source: list[npt.NDArray[np.intp]] = []
    offsets = auxmol.ao_loc_nr()
    for index, shell in enumerate(auxmol._bas):
        n_primitives, n_contracted = int(shell[gto.NPRIM_OF]), int(shell[gto.NCTR_OF])
        momentum = int(shell[gto.ANG_OF])
        exponents = auxmol._env[shell[gto.PTR_EXP] : shell[gto.PTR_EXP] + n_primitives]
        first = shell[gto.PTR_COEFF]
        coefficients = auxmol._env[first : first + n_primitives * n_contracted]
        coefficients = coefficients.reshape(n_contracted, n_primitives)
        total = kernel_exponents + exponents
        factors = kernel_coefficients * (math.pi / total) ** 1.5
        factors *= (kernel_exponents / total) ** momentum
        new_exponents = (kernel_exponents * exponents / total).ravel()
        new_coefficients = (coefficients[:, None, :] * factors).reshape(n_contracted, -1)
        for start in range(0, new_exponents.size, MAX_PRIMITIVES):
            part = slice(start, start + MAX_PRIMITIVES)
            piece = shell.copy()
            piece[gto.NPRIM_OF] = new_exponents[part].size
            piece[gto.PTR_EXP] = pointer
            piece[gto.PTR_COEFF] = pointer + new_exponents[part].size
            environment += [new_exponents[part], new_coefficients[:, part].ravel()]
            pointer += (1 + n_contracted) * new_exponents[part].size
            shells.append(piece)
            source.append(np.arange(offsets[index], offsets[index + 1], dtype=np.intp))
    convolved = auxmol.copy(deep=False)
    convolved._bas = np.array(shells, dtype=np.int32).reshape(-1, gto.BAS_SLOTS)
    convolved._env = np.concatenate(environment)
    return convolved, np.concatenate(source)


def shell_blocks(mol: gto.Mole, width: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (first shell, last shell, first function, last function), about ``width`` functions each."""
    offsets = mol.ao_loc_nr()
    first = 0
    for last in range(1, mol.nbas + 1):
        if last == mol.nbas or offsets[last + 1] - offsets[first] > width:
            yield first, last, int(offsets[first]), int(offsets[last])
            first = last


def function_atoms(mol: gto.Mole) -> npt.NDArray[np.intp]:
    """Return the atom that each basis function is centred on."""
    atoms = np.empty(mol.nao, dtype=np.intp)
    for atom, (_, _, start, stop) in enumerate(mol.aoslice_by_atom()):
        atoms[start:stop] = atom
    return atoms
