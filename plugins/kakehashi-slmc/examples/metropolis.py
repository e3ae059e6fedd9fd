"""Electrons that feel classical spins on a 4 x 4 lattice: plain Metropolis."""

import numpy as np

L, J, T, STEPS = 4, 1.0, 0.1, 6000
N = L * L
rng = np.random.default_rng(1)
hopping = np.zeros((N, N))
bonds = []
for x in range(L):
    for y in range(L):
        for other in (((x + 1) % L) * L + y, x * L + (y + 1) % L):
            bonds.append((x * L + y, other))
            hopping[x * L + y, other] = hopping[other, x * L + y] = -1.0
signs = np.array([(-1.0) ** (x + y) for x in range(L) for y in range(L)])


def log_weight(spins):
    """Logarithm of the weight of unit vectors, (N, 3): electrons are traced out."""
    x, y, z = (0.5 * J * np.diag(spins[:, a]) for a in range(3))
    matrix = np.block([[hopping + z, x - 1j * y], [x + 1j * y, hopping - z]])
    return np.logaddexp(0.0, -np.linalg.eigvalsh(matrix) / T).sum()


def metropolis_step(spins, logw, rng):
    """Move one spin, and accept or reject."""
    proposed = spins.copy()
    site = rng.integers(N)
    proposed[site] += 0.8 * rng.normal(size=3)
    proposed[site] /= np.linalg.norm(proposed[site])
    new = log_weight(proposed)
    if np.log(1.0 - rng.random()) < new - logw:
        return proposed, new, True
    return spins, logw, False


spins = rng.normal(size=(N, 3))
spins /= np.linalg.norm(spins, axis=1, keepdims=True)
logw = log_weight(spins)
series = []
for _ in range(STEPS):
    spins, logw, accepted = metropolis_step(spins, logw, rng)
    series.append(np.sum((signs @ spins / N) ** 2))
bins = np.array(series[STEPS // 5 :]).reshape(40, -1).mean(axis=1)
print(f"<m_st^2> = {bins.mean():.4f} +- {bins.std(ddof=1) / np.sqrt(40):.4f}, {STEPS} steps")
