"""The mistakes that are a user's to mend."""

import difflib
from collections.abc import Iterable


class WrongInput(ValueError):
    """Something in the config, on the command line or in a file is wrong: one line that says what and how to mend it.

    The command line prints that line and exits with 2; nothing has been trained by then.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint for a misspelled `word`: " Did you mean mlp?", or nothing where no known word is close."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.5)
    return f" Did you mean {close[0]}?" if close else ""
