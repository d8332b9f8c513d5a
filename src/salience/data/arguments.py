"""What arguments of a data set must be: one line where they are not."""

import math

from ..errors import WrongInput


def require_whole(key: str, value: object, least: int, most: float = math.inf) -> None:
    """WrongInput unless `value` is an int from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise WrongInput(f"data.{key}={value}: a whole number {_interval(least, most)}")


def require_number(key: str, value: object, least: float, most: float = math.inf) -> None:
    """WrongInput unless `value` is a finite number from `least` to `most`."""
    if not isinstance(value, int | float) or not math.isfinite(value) or not least <= value <= most:
        raise WrongInput(f"data.{key}={value}: a number {_interval(least, most)}")


def _interval(least: float, most: float) -> str:
    return f"of {least} or more" if most == math.inf else f"from {least} to {most}"
