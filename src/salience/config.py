"""The edge: from options and `key=value` on the command line, or in a list, to one composed and checked config."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .edge.checks import check
from .edge.mistakes import in_groups, in_keys, unreadable
from .edge.overrides import GROUPS_OF_SEVERAL, rewritten
from .edge.targets import build, locate, signatures
from .edge.trust import allowed
from .errors import WrongInput

if TYPE_CHECKING:
    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

__all__ = [
    "Composed", "Composer", "WrongInput", "allowed", "build", "check", "command", "compose", "config_folder", "options",
    "locate", "shipped", "signatures",
]  # fmt: skip


@dataclass(frozen=True)
class Composed:
    """A composed config and how it came about."""

    config: "DictConfig"
    """The whole run; references to the environment are not resolved."""
    overrides: tuple[str, ...] = ()
    """What was typed, as it was typed, and `--config-dir=...` where options of somebody's own were used."""
    choices: dict[str, Any] = field(default_factory=dict)
    """The option of each group: a name, None, or a list of names."""
    folder: Path | None = None
    """Where this run's folder is to be made; None: the run names its own."""


def config_folder() -> Path:
    """The folder of configs: `configs/` of the repository, or `salience/configs` of the installed package."""
    package = Path(__file__).resolve().parent
    beside = package.parents[1] / "configs"
    return beside if (beside / "run.yaml").is_file() else package / "configs"


def options(group: str, config_dirs: Sequence[str | Path] = ()) -> list[str]:
    """The names of a group's options; reads file names only."""
    folders = [Path(folder) / group for folder in (config_folder(), *config_dirs)]
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})


def shipped(group: str, name: str) -> dict[str, Any]:
    """The content of one option as a dict, read without Hydra; WrongInput where there is none."""
    from omegaconf import OmegaConf

    from .errors import listed, nearest

    known = options(group)
    if name not in known:
        raise WrongInput(f"{group}={name}: no such option.{nearest(name, known)} Options: {listed(known)}")
    content = OmegaConf.to_container(OmegaConf.load(config_folder() / group / f"{name}.yaml"), resolve=True)
    return {str(key): value for key, value in content.items()} if isinstance(content, dict) else {}


def compose(overrides: Sequence[str] = (), config_dirs: Sequence[str | Path] = ()) -> Composed:
    """The config of one run, composed and checked like the command line's, without running anything.

    `config_dirs` are folders with further options. Raises WrongInput that names all mistakes, one line each.
    """
    return Composer.create(config_dirs).compose(overrides)


class Composer:
    """Composes configs from one set of folders, and says what is wrong with what was typed."""

    def __init__(self, loader: "ConfigLoader", name: str = "run", hydra_overrides: Sequence[str] = ()):
        self.loader = loader
        self.name = name
        self.hydra_overrides = list(hydra_overrides)
        self._options: dict[str, list[str]] = {}
        self.known: dict[tuple[str, ...], DictConfig] = {}
        """The configs that were composed and found right, by their overrides: those of a sweep are needed twice."""

    @classmethod
    def create(
        cls, config_dirs: Sequence[str | Path] = (), folder: str | Path | None = None, name: str = "run"
    ) -> "Composer":
        """From folders; `folder` in place of the framework's own."""
        from hydra._internal.config_loader_impl import ConfigLoaderImpl
        from hydra._internal.utils import create_config_search_path
        from hydra.core.config_search_path import SearchPathQuery
        from hydra.core.utils import setup_globals

        register_plugins()
        setup_globals()
        path = create_config_search_path(str(Path(folder or config_folder()).resolve()))
        for extra in config_dirs:
            if not Path(extra).is_dir():
                raise WrongInput(f"--config-dir {extra}: no such folder")
            path.prepend(
                "command-line", f"file://{Path(extra).resolve()}", anchor=SearchPathQuery(provider="schema")
            )
        return cls(ConfigLoaderImpl(path), name)

    def compose(self, typed: Sequence[str], folder: Path | None = None) -> Composed:
        """Compose and check one run; WrongInput with one line per mistake."""
        full = self.full([rewritten(override) for override in typed])
        return composed(full, typed, folder)

    def full(self, overrides: Sequence[str]) -> "DictConfig":
        """The checked config with Hydra's own node, from overrides that are rewritten already."""
        from hydra.core.hydra_config import HydraConfig

        parsed, lines = self.judged(overrides, several_jobs=False)
        good = [override.input_line for override in parsed]
        full: DictConfig | None
        try:
            full = self._load(good)
        except Exception as error:  # while composing, whatever is raised was in a file or typed
            more, full = self._diagnosed(parsed, error)
            lines += more
        if full is not None:
            HydraConfig.instance().set_config(full)  # for references such as ${hydra:runtime.cwd}
            try:
                check(full)
            except WrongInput as error:
                lines += str(error).splitlines()
        if lines or full is None:
            raise WrongInput("\n".join(dict.fromkeys(lines)))
        self.known[tuple(overrides)] = full
        return full

    def loose(self, overrides: Sequence[str]) -> "DictConfig | None":
        """The config as it composes, unchecked; None where it does not compose."""
        try:
            return self._load(overrides)
        except Exception:
            return None

    def mistakes(self, jobs: Iterable[Sequence[str]]) -> list[str]:
        """The lines of every run in `jobs` (rewritten overrides), each line once."""
        lines: list[str] = []
        for job in jobs:
            try:
                self.full(job)
            except WrongInput as error:
                lines += str(error).splitlines()
        return list(dict.fromkeys(lines))

    def judged(self, overrides: Sequence[str], several_jobs: bool) -> tuple[list[Any], list[str]]:
        """The overrides that can be read and choose options that exist, parsed; and a line for each other one."""
        parsed, lines = [], []
        for override in overrides:
            try:
                parsed += self._parser().parse_overrides([override])
            except Exception:
                lines.append(unreadable(override))
        found = list(in_groups(parsed, self.options, several_jobs))
        wrong = {id(override) for override, _ in found}
        return [o for o in parsed if id(o) not in wrong], lines + [line for _, line in found]

    def expanded(self, overrides: Sequence[str]) -> list[list[str]]:
        """The overrides of each job of a sweep, in Hydra's order: the last one varies fastest."""
        values: dict[str, list[str]] = {}
        for override in self._parser().parse_overrides(list(overrides)):
            key = override.get_key_element()
            if override.is_sweep_override() and not override.is_discrete_sweep():
                raise WrongInput(
                    f"{override.input_line}: an interval needs a search; list values or use range(...)"
                )
            several = (
                [f"{key}={v}" for v in override.sweep_string_iterator()]
                if override.is_sweep_override()
                else []
            )
            values[key] = several or [override.input_line]
        return [list(job) for job in itertools.product(*values.values())]

    def options(self, group: str) -> list[str]:
        """What a group offers, over all folders."""
        if group not in self._options:
            extra = [o for o in self.hydra_overrides if o.startswith("hydra.searchpath")]
            found = self.loader.get_group_options(group, config_name=self.name, overrides=extra)
            self._options[group] = list(found)
        return self._options[group]

    def _parser(self) -> Any:
        from hydra.core.override_parser.overrides_parser import OverridesParser

        return OverridesParser.create(config_loader=self.loader)

    def _load(self, overrides: Sequence[str]) -> "DictConfig":
        from hydra.types import RunMode

        everything = [*self.hydra_overrides, *overrides]
        return self.loader.load_configuration(self.name, everything, RunMode.RUN, from_shell=False)

    def _diagnosed(self, parsed: Sequence[Any], error: Exception) -> tuple[list[str], "DictConfig | None"]:
        """Why these overrides do not compose, and what composes without the culprits."""
        groups = [o for o in parsed if self.options(o.key_or_group) and not isinstance(o.value(), dict)]
        rest = [o for o in parsed if o not in groups]
        try:
            base = self._load([o.input_line for o in groups])
        except Exception as first:
            return [one_line(first)], None
        found = list(in_keys(rest, base, [g for g in self.loader.list_groups("") if g != "hydra"]))
        wrong, lines = {id(o) for o, _ in found}, [line for _, line in found]
        full, good = base, list(groups)
        if len(found) == len(rest):
            return lines, base
        try:
            return lines, self._load([o.input_line for o in parsed if id(o) not in wrong])
        except Exception:
            for override in (o for o in rest if id(o) not in wrong):
                try:
                    full = self._load([o.input_line for o in [*good, override]])
                    good.append(override)
                except Exception as reason:
                    lines.append(f"{override.input_line}: {one_line(reason)}")
        return lines or [one_line(error)], full


def register_plugins() -> None:
    """Make Hydra know our launcher and sweeper where its own search does not find them (editable installs)."""
    import warnings

    from hydra.core.plugins import Plugins

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Hydra could not discover plugins")
        plugins = Plugins.instance()  # first: its search runs Hydra's modules anew, and ours build on them
    from hydra_plugins.salience.launcher import SalienceLauncher
    from hydra_plugins.salience.sweeper import SalienceSweeper

    plugins.register(SalienceLauncher)
    plugins.register(SalienceSweeper)


def composed(full: "DictConfig", typed: Sequence[str], folder: Path | None = None) -> Composed:
    """What a run is given, from a config that still has Hydra's own node."""
    from omegaconf import OmegaConf

    # Hydra's own node is larger than all others together: it is left out rather than copied and deleted.
    config = OmegaConf.masked_copy(full, [str(key) for key in full if key != "hydra"])
    OmegaConf.set_struct(config, True)
    return Composed(config, with_folders(typed, full.hydra), choices(config, full.hydra), folder)


def with_folders(typed: Sequence[str], hydra: "DictConfig") -> tuple[str, ...]:
    """What was typed and the folders with further options: all that it takes to type a run again."""
    found = [Path(s.path) for s in hydra.runtime.config_sources if s.provider == "command-line"]
    here = Path.cwd()
    shown = [path.relative_to(here) if path.is_relative_to(here) else path for path in found]
    return (*typed, *(f"--config-dir={path}" for path in shown))


def choices(config: "DictConfig", hydra: "DictConfig") -> dict[str, Any]:
    """The option of each group (Hydra itself does not say which options of a list were chosen)."""
    chosen = {key: value for key, value in hydra.runtime.choices.items() if not key.startswith("hydra/")}
    chosen.pop("attribution@controls", None)
    return chosen | {group: [str(name) for name in config.get(group) or {}] for group in GROUPS_OF_SEVERAL}


def one_line(error: BaseException, length: int = 200) -> str:
    """The first line of an exception's message, and of its cause's."""
    lines = [
        str(e).strip().splitlines()[0].rstrip(".")
        for e in (error, error.__cause__)
        if e is not None and str(e).strip()
    ]
    text = ". ".join(dict.fromkeys(lines)) or type(error).__name__
    return text if len(text) <= length else f"{text[: length - 3]}..."


from .edge.commandline import command  # noqa: E402  (it needs what is above)
