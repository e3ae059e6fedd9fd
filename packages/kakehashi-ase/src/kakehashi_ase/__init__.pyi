from .base_calculator import (
    Calculator as Calculator,
)
from .base_calculator import (
    CalculatorOptions as CalculatorOptions,
)
from .errors import (
    CalculatorInputError as CalculatorInputError,
)
from .errors import (
    NonFiniteResultError as NonFiniteResultError,
)
from .errors import (
    UnsupportedElementError as UnsupportedElementError,
)
from .lookup import calculator as calculator
from .structure_checks import (
    check_overlap as check_overlap,
)
from .structure_checks import (
    check_structure as check_structure,
)
