"""Our calculators under ASE's own names: ``kakehashi-NAME`` in ``ase run`` and ``get_calculator_class``.

ASE loads third-party code in the middle of ``import ase.io``. What runs then lives here and in
``_ase_formats``: it looks at names only, loads no plugin, imports nothing that would come back to
``ase.io``, and cannot fail. What happened is kept in a ``HookReport``.
"""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator

OFF_VARIABLE = "KAKEHASHI_NO_ASE_HOOK"
"""Environment variable: when set to anything but 0, ASE sees none of our calculators by itself."""

PREFIX = "kakehashi-"
"""In front of the registry name, so that no name of ASE is ever taken."""


class LazyCalculator:
    """Stands for a calculator class in ASE's table; the plugin is loaded when it is called.

    Attributes:
        name: Registry name.
        nolabel: Tells ``ase run`` that calculators take no ``label``.
    """

    nolabel = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.__name__ = PREFIX + name

    def __call__(self, **parameters: object) -> BaseCalculator:
        """Return the calculator; the same errors as ``kakehashi_ase.calculator``."""
        from kakehashi_ase.lookup import calculator

        return calculator(self.name, **parameters)

    def __repr__(self) -> str:
        return f"<calculator {self.__name__!r}, loaded when called>"


@dataclass(frozen=True, kw_only=True)
class HookReport:
    """What became of the registration.

    Attributes:
        active: Whether the hook is switched on.
        names: Names that ASE knows our calculators by.
        skipped: Name to the reason why it was left to somebody else.
        error: Traceback of what went wrong; empty if nothing did.
    """

    active: bool
    names: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)
    error: str = ""


def switched_off() -> bool:
    """Return whether ``OFF_VARIABLE`` is set."""
    return os.environ.get(OFF_VARIABLE, "").strip() not in ("", "0")


def register_calculators() -> HookReport:
    """Make every calculator of the registry known to ASE; loads none of them and never raises.

    May run more than once in a process. Names that ASE or another package already uses are left alone.
    """
    if switched_off():
        return HookReport(active=False)
    registered: list[str] = []
    skipped: dict[str, str] = {}
    error = ""
    try:
        from ase.calculators.calculator import external_calculators, register_calculator_class
        from ase.calculators.names import names as built_in

        from kakehashi_core import registry

        for plain in registry.entry_names("calculators"):
            name = PREFIX + plain
            holder = external_calculators.get(name)
            # Compared by name: a second run of this module has another class of the same name.
            if type(holder).__name__ == LazyCalculator.__name__:
                registered.append(name)
            elif holder is not None or name in built_in:
                skipped[name] = f"taken by {holder if holder is not None else 'ASE itself'}"
            else:
                register_calculator_class(name, LazyCalculator(plain))
                registered.append(name)
    except Exception:  # noqa: BLE001  whatever happens here must not end "import ase.io"
        error = traceback.format_exc()
    return HookReport(active=True, names=tuple(registered), skipped=skipped, error=error)


def hook_report() -> HookReport | None:
    """Return what the hook did when ``ase.io`` was imported in this process; None if it did not run."""
    module = sys.modules.get("kakehashi_ase._ase_formats")
    report = getattr(module, "report", None)
    return report if isinstance(report, HookReport) else None


def hook_findings() -> list[dict[str, str]]:
    """Return what ``kakehashi doctor`` says about the hook; imports ``ase.io``.

    Returns:
        One dictionary with the keys severity ("problem", "warning" or "note"), subject, message, fix
        and traceback per finding.
    """
    import ase.io  # noqa: F401  runs the hook

    report = hook_report()
    if report is None:
        return [
            _finding(
                "problem",
                "'import ase.io' did not run the entry point of kakehashi-ase",
                "pip install --force-reinstall kakehashi-ase",
            )
        ]
    if not report.active:
        return [
            _finding(
                "note",
                f"switched off by {OFF_VARIABLE}: ASE does not list kakehashi calculators by itself",
                "unset that variable; kakehashi_ase.calculator(name) works in any case",
            )
        ]
    findings = [
        _finding(
            "warning", f"the name {name!r} is {reason}", "kakehashi_ase.calculator(name) works"
        )
        for name, reason in report.skipped.items()
    ]
    if report.error:
        cause = report.error.strip().splitlines()[-1]
        message = f"registration with ASE failed: {cause}"
        fix = f"kakehashi_ase.calculator(name) works; {OFF_VARIABLE}=1 switches the hook off"
        findings.append(_finding("problem", message, fix, report.error))
    if not findings:
        listed = ", ".join(report.names) or "none"
        findings.append(_finding("note", f"ASE knows these calculators by name: {listed}"))
    return findings


def _finding(severity: str, message: str, fix: str = "", trace: str = "") -> dict[str, str]:
    return {
        "severity": severity,
        "subject": "ASE hook",
        "message": message,
        "fix": fix,
        "traceback": trace,
    }
