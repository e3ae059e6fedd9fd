from .attachment import attach as attach
from .calculator import PySCFCalculator as PySCFCalculator
from .fixed_densities import (
    FixedDensity as FixedDensity,
)
from .fixed_densities import (
    fixed_density as fixed_density,
)
from .functional_library import (
    FunctionalLibrary as FunctionalLibrary,
)
from .functional_library import (
    GridResponseWarning as GridResponseWarning,
)
from .guess_requests import (
    guess_request as guess_request,
)
from .hamiltonian_calculator import (
    HamiltonianCalculator as HamiltonianCalculator,
)
from .initial_guesses import (
    GuessOutcome as GuessOutcome,
)
from .initial_guesses import (
    enable_initial_guesses as enable_initial_guesses,
)
from .initial_guesses import (
    estimated_energy_error as estimated_energy_error,
)
from .initial_guesses import (
    initial_guess as initial_guess,
)
from .process_switch import (
    disable as disable,
)
from .process_switch import (
    enable as enable,
)
from .process_switch import (
    is_enabled as is_enabled,
)
from .scf_driver import (
    SCFConvergenceError as SCFConvergenceError,
)
from .scf_driver import (
    converge as converge,
)
from .scf_records import (
    SCFRecord as SCFRecord,
)
from .scf_records import (
    counted_builds as counted_builds,
)
from .scf_records import (
    record_scf as record_scf,
)
