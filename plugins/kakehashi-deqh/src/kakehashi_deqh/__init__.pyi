from .equilibrium import DeepEquilibrium as DeepEquilibrium
from .fixed_points import FixedPoint as FixedPoint
from .fixed_points import SolverSettings as SolverSettings
from .fixed_points import solve as solve
from .orbital_layout import OrbitalLayout as OrbitalLayout
from .pair_irreps import PairIrreps as PairIrreps
from .pair_irreps import pair_irreps as pair_irreps
