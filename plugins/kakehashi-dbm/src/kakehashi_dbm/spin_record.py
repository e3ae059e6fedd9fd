"""What chains have gone through, one bit for a spin."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Spins = npt.NDArray[np.int8]


class SpinRecord:
    """Positions of all chains at every measurement, packed.

    Args:
        shape: Of the positions, (n_chains, ...).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._size = int(np.prod(shape))
        self._packed: list[npt.NDArray[np.uint8]] = []

    def __len__(self) -> int:
        return len(self._packed)

    def append(self, positions: Spins) -> None:
        """Add the positions of one measurement."""
        self._packed.append(np.packbits(positions.ravel() > 0))

    def __getitem__(self, number: int) -> Spins:
        bits = np.unpackbits(self._packed[number], count=self._size)
        return (2 * bits.astype(np.int8) - 1).reshape(self._shape)

    def since(self, number: int) -> Iterator[Spins]:
        """Yield the positions from measurement ``number`` on."""
        for k in range(number, len(self)):
            yield self[k]

    def packed(self) -> npt.NDArray[np.uint8]:
        """Return everything, (n_measurements, n_bytes), for a file."""
        if not self._packed:
            return np.zeros((0, -(-self._size // 8)), dtype=np.uint8)
        return np.array(self._packed)

    def load(self, packed: npt.ArrayLike) -> None:
        """Replace everything by what ``packed`` returned."""
        self._packed = list(np.array(packed, dtype=np.uint8))
