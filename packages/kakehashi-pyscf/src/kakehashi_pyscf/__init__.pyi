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
