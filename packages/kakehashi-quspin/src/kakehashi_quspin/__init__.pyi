from .basis_integers import integers_of as integers_of
from .basis_integers import spins_of as spins_of
from .connected_states import ConnectedStates as ConnectedStates
from .exact_thermal import ExactThermal as ExactThermal
from .exact_thermal import exact_thermal as exact_thermal
from .spin_model import SpinModel as SpinModel
from .sublattice_rotation import Rotation as Rotation
from .sublattice_rotation import rotation_to_positive as rotation_to_positive
