"""Training of the shipped functionals on fixed densities; needs ``pip install kakehashi-nnxc[train]``."""
