"""Entry point of the group ``ase.plugins``: what ``ase info --plugins`` lists.

ASE announces changes of this machinery, and one bad entry ends its command for everything that is
installed. So nothing here can fail: whatever does not work is not listed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kakehashi_ase.ase_hook import PREFIX, switched_off

if TYPE_CHECKING:
    from ase.calculators.calculator import BaseCalculator


def calculator_class(name: str) -> type[BaseCalculator]:
    """Return a class whose call gives the registered calculator; ASE wants a class.

    Args:
        name: Registry name; loaded when the class is called.
    """
    from ase.calculators.calculator import BaseCalculator

    from kakehashi_ase.lookup import calculator

    def build(_cls: type, **options: object) -> BaseCalculator:
        return calculator(name, **options)

    title = "".join(word.title() for word in name.split("-")) + "Calculator"
    return type(title, (BaseCalculator,), {"__new__": build, "nolabel": True})


def _listed() -> tuple[Any, ...]:
    if switched_off():
        return ()
    try:
        from functools import partial

        from ase._4.plugins.plugin import CalculatorPlugin

        from kakehashi_core import registry
        from kakehashi_core.registry import State

        return tuple(
            CalculatorPlugin(
                PREFIX + plugin.name,
                citation=plugin.spec.citation.text,
                implementation=partial(calculator_class, plugin.name),
            )
            for plugin in registry.plugins("calculators")
            if plugin.state is State.OK and plugin.spec is not None
        )
    except Exception:  # noqa: BLE001  see the docstring of the module
        return ()


__ase_plugins__ = _listed()
