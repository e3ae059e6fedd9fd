"""Read the weight files that Nagai, Akashi and Sugino published with their paper.

The files are not shipped here. They are torch pickles, so they are opened only after their digest has been
compared with the known ones.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from kakehashi_core.contracts import XCFamily
from kakehashi_core.errors import CheckpointError
from kakehashi_core.foreign_weights import import_state_dict
from kakehashi_nnxc.four_layer_form import FourLayerFunctional, parameter_shapes

MAX_BYTES = 200_000

PUBLISHED: dict[str, tuple[str, XCFamily]] = {
    "c41f35233da0c2d96d28b7edc6951f30d6dc4658b137b906517130213c26c7ef": ("NNLSDA", "LDA"),
    "dd40b6e027adcbd8985463d42e1e5bc073f92218fcf996655f40ac3ef698f158": ("NNGGA", "GGA"),
    "5697d150434c33a67691983545ae7622ad7de07fd65d273edf0df01a66a89401": ("NNmGGA", "MGGA"),
    "4985a33d07c81ed81d63ede41200bcc4f157aae7fdc2b2c6549629af4bb65122": ("NNNRA", "NONLOCAL"),
}
"""SHA-256 of a published file to its name and rung."""


def load_published(
    path: str | Path, *, name: str = "", family: XCFamily | None = None
) -> FourLayerFunctional:
    """Turn one of the published weight files into a functional.

    Args:
        path: File NNLSDA, NNGGA, NNmGGA or NNNRA of the published repository (MIT licence).
        name: Name of the functional, for ``mf.xc`` and reports; by default "published-" and the rung.
        family: Rung of a file of the same layout that you trained yourself with the published code. Without
            it only the four published files are accepted, by their SHA-256.

    Returns:
        A functional for ``kakehashi_pyscf.attach(mf, functional)``; float32 weights, up-cast exactly.

    Raises:
        CheckpointError: If the file is too large, unknown, or not of the four-layer form.

    Source:
        Nagai, Akashi, Sugino, npj Comput. Mater. 6, 43 (2020).
    """
    path = Path(path)
    digest = _digest(path)
    if family is None:
        if digest not in PUBLISHED:
            known = ", ".join(file for file, _ in PUBLISHED.values())
            raise CheckpointError(
                f"{path.name} (SHA-256 {digest[:16]}...) is none of the published files {known}; if you "
                "made it yourself with the published code, say what it reads: family='LDA', 'GGA', 'MGGA' or "
                "'NONLOCAL'"
            )
        family = PUBLISHED[digest][1]
    parameters = import_state_dict(
        path,
        shapes=parameter_shapes(family),
        dtype=torch.float32,
        max_bytes=MAX_BYTES,
        sha256=digest,
    )

    rung = {"LDA": "lsda", "GGA": "gga", "MGGA": "mgga", "NONLOCAL": "nra"}[family]
    return FourLayerFunctional(
        name=name or f"published-{rung}",
        family=family,
        parameters=parameters,
        activation="elu",
        sha256=digest,
    )


def _digest(path: Path) -> str:
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    if path.stat().st_size > MAX_BYTES:
        raise CheckpointError(
            f"{path.name} has {path.stat().st_size} bytes; the published files have less than {MAX_BYTES}"
        )
    return hashlib.sha256(path.read_bytes()).hexdigest()
