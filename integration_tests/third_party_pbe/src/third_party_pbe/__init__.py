"""PBE in torch, registered from outside kakehashi. Hartree atomic units."""
