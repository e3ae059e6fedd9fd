"""Every error class that more than one kakehashi package raises.

Messages have four parts: what is wrong, the offending value, what is allowed, what to do. Each error
carries exactly one string in ``args``, so that it survives pickling across process pools.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class KakehashiError(Exception):
    """Base class of all errors that kakehashi raises on purpose."""


class InvalidInputError(KakehashiError, ValueError):
    """A value handed in by the user is outside what is allowed."""


class UnknownNameError(KakehashiError, KeyError):
    """A name is not registered; the message lists the closest ones."""

    def __str__(self) -> str:
        # KeyError shows the repr of its argument, which turns a sentence into a quoted blob.
        return str(self.args[0]) if self.args else ""


class PluginLoadError(KakehashiError, ImportError):
    """A plugin exists but cannot be used: broken, incompatible, in conflict or disabled."""


class CheckpointError(KakehashiError, ValueError):
    """A checkpoint is damaged, foreign, too new, or does not fit the model."""


class LockedError(KakehashiError, RuntimeError):
    """Another process is writing to the same run directory."""


class EnsembleError(KakehashiError, RuntimeError):
    """Some tasks of an ensemble failed; finished tasks stay on disk."""


class ConvergenceError(KakehashiError, RuntimeError):
    """An iteration stopped before it converged; the message holds the history in words."""


class NonFiniteError(KakehashiError, FloatingPointError):
    """A model returned NaN or infinity."""


class UnsupportedError(KakehashiError, NotImplementedError):
    """A quantity, method or device that this model or bridge does not offer."""


class DomainWarning(UserWarning):
    """A model is asked outside the domain that it was trained on."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean ...?" for the names closest to ``name``, or an empty string."""
    close = get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def unknown_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> UnknownNameError:
    """Build the error for a name that nobody registered.

    Args:
        kind: What was looked up, in the words of the user ("functional", "calculator").
        name: The name that was asked for.
        known: All names that would have been accepted.
        hint: A closing sentence, for instance how to list what is installed.
    """
    known = sorted(known)
    listed = ", ".join(known) if known else "none is installed"
    message = f"unknown {kind} {name!r}.{suggest(name, known)} Registered: {listed}. {hint}"
    return UnknownNameError(message.strip())


def refuse_unknown_options(
    owner: str,
    given: Iterable[str],
    known: Iterable[str],
    error: type[KakehashiError] = InvalidInputError,
) -> None:
    """Raise for the first name in ``given`` that is not in ``known``.

    Args:
        owner: What has the options, as the message names it ("calculator 'deqh'").
        given: Names of options.
        known: Names that there are.
        error: Class of the error.

    Raises:
        InvalidInputError: Or the class that was given, with the closest and all known names.
    """
    known = sorted(known)
    for name in given:
        if name not in known:
            raise error(
                f"{owner} has no option {name!r}.{suggest(name, known)} "
                f"Options: {', '.join(known) or 'none'}."
            )
