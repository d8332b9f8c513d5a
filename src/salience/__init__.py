"""salience: train a network, explain it, measure the explanations.

Names are imported when they are first used, so that `import salience` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attribution.explanation import Explanation
    from .comparison import Comparison, compare
    from .errors import WrongInput
    from .experiment import run_overrides as run
    from .interactive import explain, measure
    from .results import load_run

__version__ = "0.1.0"

_WHERE = {
    "run": ("experiment", "run_overrides"),
    "explain": ("interactive", "explain"),
    "measure": ("interactive", "measure"),
    "load_run": ("results", "load_run"),
    "compare": ("comparison", "compare"),
    "Comparison": ("comparison", "Comparison"),
    "Explanation": ("attribution.explanation", "Explanation"),
    "WrongInput": ("errors", "WrongInput"),
}

__all__ = ["Comparison", "Explanation", "WrongInput", "compare", "explain", "load_run", "measure", "run"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(import_module(f".{module}", __name__), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
