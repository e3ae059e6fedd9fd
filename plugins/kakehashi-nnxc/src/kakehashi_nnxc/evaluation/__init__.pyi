from .error_statistics import (
    ErrorStatistics as ErrorStatistics,
)
from .error_statistics import (
    summarize as summarize,
)
from .evaluated_functionals import (
    EvaluatedFunctional as EvaluatedFunctional,
)
from .evaluated_functionals import (
    checkpoint_functional as checkpoint_functional,
)
from .evaluated_functionals import (
    evaluated_functional as evaluated_functional,
)
from .evaluated_functionals import (
    published_functional as published_functional,
)
from .set_evaluation import (
    FunctionalRun as FunctionalRun,
)
from .set_evaluation import (
    evaluate as evaluate,
)
from .species_calculations import (
    Settings as Settings,
)
from .species_calculations import (
    SpeciesResult as SpeciesResult,
)
