"""Compiled sums over a pair list: forces, energies, virial, and steps of molecular dynamics.

Arrays of the system are in its own order, (n, 3); local coordinates are three separate arrays, so that the
innermost loop vectorizes. A pair is visited from both ends.
"""

# numba's decorator is untyped, and its functions have no annotations: the types are those of the arguments.
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

import math

import numba

# Everything but the reordering of infinities: sums may be reordered, else nothing vectorizes.
FAST_MATH = {"reassoc", "contract", "nsz", "arcp"}


@numba.njit(cache=True, error_model="numpy")
def place(positions, owner, offset, x, y, z):
    """Write the coordinates of all local particles."""
    for k in range(len(owner)):
        i = owner[k]
        x[k] = positions[i, 0] + offset[k, 0]
        y[k] = positions[i, 1] + offset[k, 1]
        z[k] = positions[i, 2] + offset[k, 2]


@numba.njit(cache=True, error_model="numpy", fastmath=FAST_MATH)
def write_forces(x, y, z, owner, species, bounds, neighbors, terms, forces):
    """Write the force on every particle of the system; ``terms`` as in ``PairTerms.table``."""
    n, n_species = bounds.shape[0], bounds.shape[1] - 1
    for i in range(n):
        xi, yi, zi, kind = x[i], y[i], z[i], species[i]
        fx = fy = fz = 0.0
        for s in range(n_species):
            twelve, six = terms[0, kind, s], terms[1, kind, s]
            cutoff_squared, slope = terms[2, kind, s], terms[3, kind, s]
            low, high = bounds[i, s], bounds[i, s + 1]
            if slope == 0.0:
                for k in range(low, high):
                    j = neighbors[k]
                    dx, dy, dz = xi - x[j], yi - y[j], zi - z[j]
                    square = dx * dx + dy * dy + dz * dz
                    inverse = 1.0 / square
                    sixth = inverse * inverse * inverse
                    push = (12.0 * twelve * sixth - 6.0 * six) * sixth * inverse
                    push = push if square < cutoff_squared else 0.0
                    fx += push * dx
                    fy += push * dy
                    fz += push * dz
            else:
                for k in range(low, high):
                    j = neighbors[k]
                    dx, dy, dz = xi - x[j], yi - y[j], zi - z[j]
                    square = dx * dx + dy * dy + dz * dz
                    inverse = 1.0 / square
                    sixth = inverse * inverse * inverse
                    push = (12.0 * twelve * sixth - 6.0 * six) * sixth * inverse
                    push += slope * math.sqrt(inverse)
                    push = push if square < cutoff_squared else 0.0
                    fx += push * dx
                    fy += push * dy
                    fz += push * dz
        forces[owner[i], 0] = fx
        forces[owner[i], 1] = fy
        forces[owner[i], 2] = fz


@numba.njit(cache=True, error_model="numpy", fastmath=FAST_MATH)
def write_energies(x, y, z, owner, species, bounds, neighbors, terms, energies, virial):
    """Write half of each pair energy to both particles, and the sum of r dv/dr over pairs as a tensor.

    ``virial`` is (6,): xx, yy, zz, yz, xz, xy of sum over pairs v'(r) d_a d_b / r.
    """
    n, n_species = bounds.shape[0], bounds.shape[1] - 1
    xx = yy = zz = yz = xz = xy = 0.0
    for i in range(n):
        xi, yi, zi, kind = x[i], y[i], z[i], species[i]
        energy = 0.0
        for s in range(n_species):
            twelve, six = terms[0, kind, s], terms[1, kind, s]
            cutoff_squared, slope = terms[2, kind, s], terms[3, kind, s]
            constant = terms[4, kind, s]
            for k in range(bounds[i, s], bounds[i, s + 1]):
                j = neighbors[k]
                dx, dy, dz = xi - x[j], yi - y[j], zi - z[j]
                square = dx * dx + dy * dy + dz * dz
                inverse = 1.0 / square
                sixth = inverse * inverse * inverse
                distance = math.sqrt(square)
                inside = 0.5 if square < cutoff_squared else 0.0
                energy += inside * ((twelve * sixth - six) * sixth - constant - slope * distance)
                push = (12.0 * twelve * sixth - 6.0 * six) * sixth * inverse + slope / distance
                push *= -inside
                xx += push * dx * dx
                yy += push * dy * dy
                zz += push * dz * dz
                yz += push * dy * dz
                xz += push * dx * dz
                xy += push * dx * dy
        energies[owner[i]] = energy
    virial[0], virial[1], virial[2] = xx, yy, zz
    virial[3], virial[4], virial[5] = yz, xz, xy


@numba.njit(cache=True, error_model="numpy", fastmath=FAST_MATH)
def largest_square(positions, reference):
    """Return the largest squared displacement; NaN counts as infinite."""
    largest = 0.0
    for i in range(positions.shape[0]):
        dx = positions[i, 0] - reference[i, 0]
        dy = positions[i, 1] - reference[i, 1]
        dz = positions[i, 2] - reference[i, 2]
        square = dx * dx + dy * dy + dz * dz
        if math.isnan(square):
            return math.inf
        largest = max(largest, square)
    return largest


@numba.njit(cache=True, error_model="numpy")
def kick(velocities, forces, time):
    """Add forces times a time to the velocities; all masses are 1."""
    for i in range(velocities.shape[0]):
        for axis in range(3):
            velocities[i, axis] += time * forces[i, axis]


@numba.njit(cache=True, error_model="numpy")
def drift(positions, velocities, time):
    """Move all particles freely."""
    for i in range(positions.shape[0]):
        for axis in range(3):
            positions[i, axis] += time * velocities[i, axis]


@numba.njit(cache=True, error_model="numpy")
def thermalize(velocities, persistence, spread, n_dimensions, rng):
    """Mix velocities with normal random numbers: the exact step of an Ornstein-Uhlenbeck process."""
    for i in range(velocities.shape[0]):
        for axis in range(n_dimensions):
            velocities[i, axis] = persistence * velocities[i, axis] + spread * rng.standard_normal()


@numba.njit(cache=True, error_model="numpy")
def kinetic_energy(velocities):
    """Return half the sum of squared velocities."""
    total = 0.0
    for i in range(velocities.shape[0]):
        for axis in range(3):
            total += velocities[i, axis] * velocities[i, axis]
    return 0.5 * total


@numba.njit(cache=True, error_model="numpy")
def rescale(velocities, persistence, temperature, n_degrees, rng):
    """Draw a new kinetic energy near the present one and scale to it.

    Source:
        G. Bussi, D. Donadio, M. Parrinello, J. Chem. Phys. 126, 014101 (2007), eq. A7;
        ``persistence`` is exp(-timestep / relaxation time).
    """
    present = kinetic_energy(velocities)
    share = temperature / (2.0 * present) * (1.0 - persistence)
    first = rng.standard_normal()
    others = 2.0 * rng.standard_gamma(0.5 * (n_degrees - 1))
    square = persistence + share * (others + first * first)
    square += 2.0 * first * math.sqrt(persistence * share)
    factor = math.sqrt(square)
    if first + math.sqrt(persistence / share) < 0.0:
        factor = -factor
    for i in range(velocities.shape[0]):
        for axis in range(3):
            velocities[i, axis] *= factor


NVE, LANGEVIN, RESCALING = 0, 1, 2


@numba.njit(cache=True, error_model="numpy")
def advance(
    n_steps,
    positions,
    velocities,
    forces,
    reference,
    free_square,
    owner,
    offset,
    species,
    bounds,
    neighbors,
    terms,
    x,
    y,
    z,
    timestep,
    thermostat,
    numbers,
    n_dimensions,
    rng,
):
    """Make steps until all are done or the pair list is outdated.

    Velocity Verlet, with the thermostat in between: Langevin in the order kick, drift, thermostat, drift,
    kick (B. Leimkuhler, C. Matthews, Appl. Math. Res. Express 2013, 34), velocity rescaling after the step.

    ``free_square`` is the square of the displacement from ``reference`` for which the list holds; ``numbers``
    are those of the thermostat: persistence, spread or temperature, number of degrees of freedom.

    Returns:
        Number of complete steps; whether one more has been begun, up to new forces.
    """
    for step in range(n_steps):
        kick(velocities, forces, 0.5 * timestep)
        if thermostat == LANGEVIN:
            drift(positions, velocities, 0.5 * timestep)
            thermalize(velocities, numbers[0], numbers[1], n_dimensions, rng)
            drift(positions, velocities, 0.5 * timestep)
        else:
            drift(positions, velocities, timestep)
        if not largest_square(positions, reference) <= free_square:
            return step, True
        place(positions, owner, offset, x, y, z)
        write_forces(x, y, z, owner, species, bounds, neighbors, terms, forces)
        kick(velocities, forces, 0.5 * timestep)
        if thermostat == RESCALING:
            rescale(velocities, numbers[0], numbers[1], numbers[2], rng)
    return n_steps, False


@numba.njit(cache=True, error_model="numpy")
def fire_step(positions, velocities, forces, state, numbers):
    """Mix, check the power and move; see ``inherent_structures`` for the meaning of the numbers.

    ``state`` is timestep, mixing and steps since the power was last negative, and is updated.
    """
    n = positions.shape[0]
    power = square_v = square_f = 0.0
    for i in range(n):
        for axis in range(3):
            power += forces[i, axis] * velocities[i, axis]
            square_v += velocities[i, axis] * velocities[i, axis]
            square_f += forces[i, axis] * forces[i, axis]
    longest, grow, shrink, start, damping, delay, largest_move = numbers
    if power > 0.0:
        mixing = state[1]
        ratio = mixing * math.sqrt(square_v / square_f) if square_f > 0.0 else 0.0
        for i in range(n):
            for axis in range(3):
                velocities[i, axis] = (1.0 - mixing) * velocities[i, axis] + ratio * forces[i, axis]
        state[2] += 1.0
        if state[2] > delay:
            state[0] = min(state[0] * grow, longest)
            state[1] *= damping
    else:
        velocities[:] = 0.0
        state[0] *= shrink
        state[1] = start
        state[2] = 0.0
    timestep = state[0]
    fastest = 0.0
    for i in range(n):
        square = 0.0
        for axis in range(3):
            velocities[i, axis] += timestep * forces[i, axis]
            square += velocities[i, axis] * velocities[i, axis]
        fastest = max(fastest, square)
    # A long first step out of an overlap is cut for all particles alike.
    scale = min(1.0, largest_move / max(timestep * math.sqrt(fastest), 1e-300))
    for i in range(n):
        for axis in range(3):
            positions[i, axis] += scale * timestep * velocities[i, axis]


@numba.njit(cache=True, error_model="numpy")
def largest_force(forces):
    """Return the largest norm of a force."""
    largest = 0.0
    for i in range(forces.shape[0]):
        square = 0.0
        for axis in range(3):
            square += forces[i, axis] * forces[i, axis]
        if math.isnan(square):
            return math.inf
        largest = max(largest, square)
    return math.sqrt(largest)
