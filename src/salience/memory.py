"""What happens when memory runs out: a pass is taken in halves, until its rows fit."""

import logging
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

SCORES, GRADIENTS, LOGGED = "scores", "gradients", "logged"
FULL = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
"""What torch and CUDA say when memory runs out, where the kind of their error does not say it."""

log = logging.getLogger(__name__)
_fitting: "WeakKeyDictionary[Any, dict[str, int]]" = WeakKeyDictionary()
"""How many rows of what fit, of those on whom memory has run out."""


class OutOfMemory(RuntimeError):  # noqa: N818 - what has happened, as messages say it
    """Not even one row fits into memory."""


def ran_out(error: BaseException) -> bool:
    """Whether `error` says that memory ran out, where fewer rows could help."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return (
        isinstance(error, RuntimeError)
        and not isinstance(error, OutOfMemory)
        and any(words in str(error) for words in FULL)
    )


def most_rows(owner: Any, what: str) -> int | None:
    """How many rows fit, where more did not; None where memory has never run out."""
    try:
        return _fitting.get(_known_as(owner), {}).get(what)
    except TypeError:  # nobody can remember an owner without a hash
        return None


def fitted(
    owner: Any,
    what: str,
    count: int,
    one_pass: Callable[[slice], Any],
    smaller: Callable[[], bool] = lambda: False,
) -> list[Any]:
    """What `one_pass(rows)` gives for the rows from 0 to `count`: of all at once, or in parts where memory runs out.

    Parts are halved until they fit, down to one row; then `smaller` says whether it made that row cheaper. What fits
    `owner` is remembered and, the first time, logged. Rows must not depend on one another. A network with hooks, which
    may count its passes, is left to the caller.
    """
    most = most_rows(owner, what)
    size = count if most is None or hooked(owner) else most
    parts: list[Any] = []
    at = failed = 0
    while at < count or not parts:
        rows = slice(at, min(at + size, count))
        try:
            parts.append(one_pass(rows))
            at = rows.stop
            continue
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) or hooked(owner):
                raise
            size = rows.stop - rows.start
            if size <= 1 and not smaller():
                raise OutOfMemory(
                    f"out of memory with a single row ({str(error)[:120]}); use a smaller network or smaller inputs, "
                    "fewer baseline rows, a machine with more memory, or device=cpu"
                ) from error
        failed, size = failed or size, max(1, size // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # what the failed pass held, now that its error is gone
    if failed:
        _remember(owner, what, failed, size)
    return parts


def halved(owner: Any, most: int) -> bool:
    """Let the passes of a network have half the rows, of `most` at first; whether there was anything to halve."""
    known = _fitting.setdefault(_known_as(owner), {})
    before = [known.get(what, most) for what in (SCORES, GRADIENTS)]
    known |= {what: max(1, rows // 2) for what, rows in zip((SCORES, GRADIENTS), before, strict=True)}
    return max(before) > 1


def _remember(owner: Any, what: str, failed: int, fits: int) -> None:
    try:
        known = _fitting.setdefault(_known_as(owner), {})
    except TypeError:
        known = {}
    level = logging.DEBUG if LOGGED in known else logging.WARNING
    known |= {what: fits, LOGGED: 1}
    log.log(level, "out of memory with %d rows a pass (%s); going on with %d", failed, what, fits)


def _known_as(owner: Any) -> Any:
    """Copies of a network and its explainers count into the same totals; what fits one fits the other."""
    return getattr(owner, "counter", owner)


def hooked(forward: Any) -> bool:
    """Whether a network carries hooks, which must see every pass as it is."""
    modules = forward.modules() if isinstance(forward, nn.Module) else ()
    return any(m._forward_hooks or m._forward_pre_hooks for m in modules)


def scores(
    owner: Any, run: Callable[..., Tensor], inputs: Sequence[Tensor], context: Sequence[Any]
) -> Tensor:
    """`run(*inputs, *context)` without gradients, where a part of the rows gives that part of the result."""
    count = len(inputs[0])

    def one_pass(rows: slice) -> Tensor:
        if rows == slice(0, count):
            return run(*inputs, *context)
        own = (c[rows] if isinstance(c, Tensor) and c.dim() and len(c) == count else c for c in context)
        return run(*(x[rows] for x in inputs), *own)

    parts = fitted(owner, SCORES, count, one_pass)
    return parts[0] if len(parts) == 1 else torch.cat(parts)
