"""Names of devices and dtypes."""

import numpy as np
import pytest
import torch

from kakehashi_core.devices import resolve_device, resolve_dtype
from kakehashi_core.errors import InvalidInputError, UnsupportedError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu() -> None:
    assert resolve_device() == torch.device("cpu")
    assert resolve_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(UnsupportedError, match=r"'cuda' is not available here; .* sees: cpu\. Use"):
        resolve_device("cuda")


@pytest.mark.usefixtures("two_gpus")
def test_with_two_gpus() -> None:
    assert resolve_device("auto") == torch.device("cuda", 1)
    assert resolve_device("CUDA") == torch.device("cuda", 1)
    assert resolve_device("cuda:0") == torch.device("cuda", 0)
    assert resolve_device("auto", supported=("cpu",)) == torch.device("cpu")
    with pytest.raises(UnsupportedError, match="sees: cpu, cuda:0, cuda:1"):
        resolve_device("cuda:2")
    with pytest.raises(UnsupportedError, match="not supported by this model, which runs on cpu"):
        resolve_device("cuda:0", supported=("cpu",))


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "cuda:x", "auto:0", "", "cpu:1", None])
def test_unknown_devices(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"unknown device|one CPU"):
        resolve_device(name)


def test_dtypes() -> None:
    assert resolve_dtype() is torch.float64
    assert resolve_dtype("float32") is torch.float32
    assert resolve_dtype(torch.float32) is torch.float32
    for bad in ("float16", "int64", "load", "float", np.float32):
        with pytest.raises(InvalidInputError, match="Allowed are float64, float32"):
            resolve_dtype(bad)  # type: ignore[arg-type]
