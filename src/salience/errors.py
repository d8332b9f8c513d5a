"""The mistakes that are a user's to mend."""

import difflib
from collections.abc import Iterable


class WrongInput(ValueError):  # noqa: N818  (it is the user's, not an error of the program)
    """Something in the config, on the command line or in a file is wrong: one line that says what and how to mend it.

    The command line prints that line and exits with 2; nothing has been trained by then.
    """


def nearest(word: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """A hint for a misspelled `word`: " Did you mean mlp?", or nothing where no known word is close."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=cutoff)
    return f" Did you mean {close[0]}?" if close else ""


def listed(names: Iterable[str], length: int = 90) -> str:
    """Names for a message, cut where they would fill more than `length` characters: "a, b, c and 12 more"."""
    names = [str(n) for n in names]
    shown: list[str] = []
    while len(shown) < len(names) and len(", ".join([*shown, names[len(shown)]])) <= length:
        shown.append(names[len(shown)])
    left = len(names) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "") if names else "none"


class SomeFailed(Exception):  # noqa: N818
    """A sweep came to its end, and some of its runs failed."""
