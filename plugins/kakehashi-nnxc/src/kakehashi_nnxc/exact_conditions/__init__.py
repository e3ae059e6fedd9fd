"""Exact conditions of the exchange-correlation energy, checked on a mesh for any functional.

Functionals return exchange and correlation together. Exchange is recovered as the high-density limit under
uniform scaling, correlation as the rest, so functionals without that limit fail it once, by name, and what
would need the two parts separately is not tested. The conditions on energies per electron are sufficient for
those on energies of all densities, not necessary: a violated one is a warning, no proof.

Each condition names its source in its docstring.
"""

from kakehashi_nnxc.exact_conditions.checking import CONDITIONS, check_conditions
from kakehashi_nnxc.exact_conditions.condition import Condition, ConditionResult
from kakehashi_nnxc.exact_conditions.mesh import Mesh
from kakehashi_nnxc.exact_conditions.whole_energy import uniform_gas_energy

__all__ = [
    "CONDITIONS",
    "Condition",
    "ConditionResult",
    "Mesh",
    "check_conditions",
    "uniform_gas_energy",
]
