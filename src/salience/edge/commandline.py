"""`scripts/run.py` from its arguments to its exit code (`--help` lists those)."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .. import interrupts
from ..errors import SomeFailed, WrongInput, nearest
from .overrides import as_typed, rewritten

if TYPE_CHECKING:
    from argparse import Namespace

    from omegaconf import DictConfig

    from ..config import Composer


def command(job: str, arguments: Sequence[str] | None = None) -> int:
    """Run `job`, the dotted name of a function of one `Composed`, as the command line asks, and return the exit code.

    The function is imported only when a run really starts, so help and mistakes never wait for torch. A mistake is one
    line on stderr; a failed run is one line too, with the exception's notes (where its traceback was logged).
    """
    return exit_code(lambda: _dispatch(job, list(sys.argv[1:] if arguments is None else arguments)))


def exit_code(action: Callable[[], Any]) -> int:
    """Do something for a person at a terminal: what goes wrong is one line each on stderr and an exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed before we began
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open to the end)
    verbose = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises instead of printing its own lines
    with interrupts.handled() as received:
        try:
            action()
            sys.stdout.flush()
        except KeyboardInterrupt as error:
            _say(["; ".join(["interrupted", *_notes(error)])])
            return 128 + (received[0] if received else signal.SIGINT)
        except WrongInput as error:
            _say(str(error).splitlines())
            return 2
        except SomeFailed as error:
            _say([str(error)])
            return 3
        except BrokenPipeError:  # `| head`: nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except Exception as error:
            if verbose:
                traceback.print_exc()
            _say(
                [
                    describe(error)
                    + ("" if _notes(error) or verbose else "; HYDRA_FULL_ERROR=1 shows the traceback")
                ]
            )
            return 1
    return 0


def describe(error: BaseException) -> str:
    """An exception in one line, with its notes."""
    from ..config import one_line

    named, text = type(error).__name__, one_line(error)
    return "; ".join([named if text == named else f"{named}: {text}", *_notes(error)])


def _notes(error: BaseException) -> list[str]:
    return [note for note in getattr(error, "__notes__", []) if "\n" not in note]


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print("error:", "".join(c if c.isprintable() else "?" for c in line), file=sys.stderr)


def _dispatch(job: str, arguments: list[str]) -> None:
    """Do the one thing that the flags ask for."""
    if {"--help", "-h"} & set(arguments):
        from ..listing import help_text

        print(help_text())
        return
    overrides, args = _parsed(arguments)
    if args.shell_completion or args.hydra_help:
        _through_hydra(Job(job), arguments)
        return
    from ..config import Composer, composed, locate

    composer = Composer.create(
        [args.config_dir] if args.config_dir else [], args.config_path, args.config_name or "run"
    )
    for_hydra = [rewritten(override) for override in overrides]
    if not (args.cfg or args.info or args.multirun):
        full = composer.full(for_hydra)
        if full.hydra.mode is None or full.hydra.mode.name == "RUN":
            locate(job)(composed(full, overrides))
            return
    _, lines = composer.judged(for_hydra, several_jobs=args.multirun)
    if lines:
        raise WrongInput("\n".join(lines))
    try:
        _through_hydra(Job(job), [*_flags(args), *for_hydra])
    except (WrongInput, SomeFailed):
        raise
    except Exception as error:
        _explain(error, composer, for_hydra)
        raise


def _parsed(arguments: list[str]) -> tuple[list[str], "Namespace"]:
    """What was typed, and Hydra's flags; they may stand between overrides."""
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    args, rest = parser.parse_known_args(arguments)
    known = [name for action in parser._actions for name in action.option_strings]
    for word in rest:
        if word.startswith("-"):
            raise WrongInput(f"{word}: no such option.{nearest(word, known)} Options: --help shows them")
    if args.experimental_rerun:
        raise WrongInput(
            "--experimental-rerun: not offered, since it runs whatever is in the file it is given"
        )
    asked = [args.run, bool(args.cfg), args.multirun, args.shell_completion, args.info is not None]
    if sum(asked) > 1:
        raise WrongInput("only one of --run, --multirun, --cfg, --info and --shell-completion at a time")
    return [*args.overrides, *rest], args


def _refuse(message: str) -> NoReturn:
    raise WrongInput(message)


def _flags(args: "Namespace") -> list[str]:
    """The flags that Hydra is to act on."""
    flags = [f"--{name}" for name in ("multirun", "resolve") if getattr(args, name)]
    if args.config_path:
        args.config_path = os.path.abspath(args.config_path)  # Hydra would look beside its caller's file
    for name in ("cfg", "package", "info", "config_path", "config_name", "config_dir"):
        if value := getattr(args, name):
            flags.append(f"--{name.replace('_', '-')}={value}")
    return flags


@dataclass(frozen=True)
class Job:
    """What Hydra calls with the config of one run of a sweep; importable and picklable, for launchers of every kind."""

    job: str

    def __call__(self, config: "DictConfig") -> Any:
        from hydra.core.hydra_config import HydraConfig

        from ..config import Composed, choices, locate, with_folders

        hydra: Any = HydraConfig.get()
        typed = with_folders([as_typed(override) for override in hydra.overrides.task], hydra)
        at = Path(hydra.sweep.dir)  # our sweeper sends every run to a folder of its own below this one
        folder = at / str(hydra.sweep.subdir) if at.is_absolute() else None
        result = locate(self.job)(Composed(config, typed, choices(config, hydra), folder))
        return str(getattr(result, "path", folder))


def _through_hydra(task: Job, arguments: list[str]) -> None:
    """Let Hydra do what it does best: sweeps, --cfg, --info, shell completion."""
    import hydra

    from ..config import config_folder, register_plugins

    register_plugins()
    old = {"version_base": "1.3"} if hydra.__version__.startswith("1.3") else {}
    main = hydra.main(config_path=str(config_folder()), config_name="run", **old)
    typed, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        main(task)()
    finally:
        sys.argv = typed


def _explain(error: Exception, composer: "Composer", overrides: list[str]) -> None:
    """Raise WrongInput in our words where `error` is Hydra's or OmegaConf's: they mean it while composing."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from ..config import one_line

    if isinstance(error, HydraException | OmegaConfBaseException):
        lines = composer.mistakes(composer.expanded(overrides)[:64])
        raise WrongInput("\n".join(lines) or one_line(error)) from error
