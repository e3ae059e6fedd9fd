from .inherent_structures import (
    FireSettings as FireSettings,
)
from .inherent_structures import (
    inherent_structure as inherent_structure,
)
from .isoconfigurational import isoconfigurational as isoconfigurational
from .isoconfigurational_data import IsoconfigurationalData as IsoconfigurationalData
from .lennard_jones_calculator import LennardJonesMixture as LennardJonesMixture
from .mixtures import (
    Mixture as Mixture,
)
from .mixtures import (
    kob_andersen as kob_andersen,
)
from .mixtures import (
    ternary_kob_andersen as ternary_kob_andersen,
)
from .molecular_dynamics import MolecularDynamics as MolecularDynamics
