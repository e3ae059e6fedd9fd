from .boltzmann_machine import BoltzmannMachine as BoltzmannMachine
from .free_fermions import chain_thermodynamics as chain_thermodynamics
from .free_fermions import ring_thermodynamics as ring_thermodynamics
from .ising_construction import ising_machine as ising_machine
from .ising_model import IsingModel as IsingModel
from .machine_builder import MachineBuilder as MachineBuilder
