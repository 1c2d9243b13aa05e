"""The configuration of a run: built from a task's recipe, changed by flags, saved as YAML, read back."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import yaml

from algorithms.config import LearnerConfig
from envs.config import EnvConfig
from envs.tasks import all_tasks, get_task
from physics import choose_device
from robots.config import check_numbers, nearest
from runs import plugins
from runs.flags import as_flags, parse_flags
from runs.help import show_help, take_help
from runs.record import origin_of
from runs.saved import fill_in, take_terms

T = TypeVar("T")


@dataclass
class RunConfig:
    """Train a policy. Every value of environment and learner is a flag as well.

    --list shows tasks, robots, kinds of terrain, curricula and policies.
    """

    task: str = "anymal_c_flat"
    """Task to train."""
    recipe: str = ""
    """Named set of values of the task; empty for its default, or for `gpu` where a GPU trains. `reference` has the
    published ones."""
    num_envs: int = 4096
    """Robots trained together, of all processes."""
    max_iterations: int = 300
    """Policy updates in all, those before a resume counted."""
    more_iterations: int = 0
    """With --resume: as many more than are done, instead of --max_iterations."""
    until_solved: bool = False
    """End as soon as two evaluations in a row meet the task's targets, at --max_iterations at the latest."""
    seed: int = 1
    """Seed of everything random."""
    run_name: str = ""
    """Appended to the run folder's name."""
    experiment_name: str = ""
    """Folder of the task's runs; empty for the task's name."""
    log_dir: str = "logs"
    """Folder of all experiments."""
    device: str = "auto"
    """Where the tensors live: cpu, cuda, cuda:N, or auto for the GPU if there is one that can be used."""
    engine: str = "auto"
    """Physics engine."""
    graphs: Literal["auto", "off"] = "auto"
    """On a GPU an iteration is two CUDA graphs; off launches operator by operator, for debugging."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Let torch.compile make few kernels of many operators: two to three times as fast on a GPU, half a minute later
    the first time, eight seconds from then on; auto does it there for runs of 1,000 iterations or more."""
    num_threads: int = 0
    """Threads of torch and of the physics in each process, 0 for one per core."""
    resume: bool = False
    """Continue a run: the newest (of `task`, if given), or `load_run`, from its last checkpoint or `checkpoint`."""
    load_run: str = ""
    """Run folder (name or path) to resume; empty for the newest."""
    checkpoint: int = -1
    """Iteration to resume from, -1 for the last."""
    init_from: str = ""
    """Begin with the weights of a run (its folder or name) or of a policy in policies/, in a run of its own: rewards,
    robot and terrain may be others as long as observations, actions and networks are as large."""
    check: bool = False
    """Build everything, run one rollout and one update, print memory and expected time, and stop."""
    learner: Literal["trot", "rsl_rl"] = "trot"
    """Which PPO: this project's, or rsl_rl's OnPolicyRunner on the same environment."""
    plugin: tuple[str, ...] = ()
    """Files or packages of your own with tasks, robots, terrains or curricula; the run keeps a copy of each."""
    logger: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    """Where figures go besides progress.csv: TensorBoard's files, Weights & Biases, or nowhere else."""
    wandb_project: str = ""
    """wandb: project; empty for the environment variable WANDB_PROJECT, or else `trot`."""
    notes: str = ""
    """What this run is about, in your words."""
    viewer: Literal["none", "web"] = "none"
    """web: a page in the browser shows eight of the robots while they train, and the learning curve."""
    port: int = 8080
    """viewer web: the page's port on this machine, or the next free one."""
    video_every: int = 0
    """Iterations from one short film of the policy to the next, in the run's videos/ and TensorBoard; 0: none."""
    headless: bool = True
    """Accepted for habit: training never opens a window."""
    sim_device: str = ""
    """Accepted for habit: the same as `device`."""
    rl_device: str = ""
    """Accepted for habit: the same as `device`."""
    env: EnvConfig = field(default_factory=EnvConfig)
    agent: LearnerConfig = field(default_factory=LearnerConfig)


def default_config(task: str, recipe: str = "") -> RunConfig:
    """A task's recipe as a full configuration; ValueError for unknown names."""
    found = get_task(task)
    chosen = found.recipe(recipe)
    agent = overlay(LearnerConfig(), chosen.agent, "agent")
    return RunConfig(
        task=found.name,
        recipe=recipe or found.default_recipe,
        num_envs=chosen.num_envs,
        max_iterations=chosen.max_iterations,
        env=chosen.env(),
        agent=agent,
    )


def overlay(target: T, changes: dict[str, Any], path: str = "") -> T:
    """A copy of a dataclass (or of a dictionary of them) with nested changes.

    Raises:
        ValueError: a name that the target does not have, the sentence lists the nearest valid ones; or a value of
            another kind than the field's.
    """
    is_dict = isinstance(target, dict)
    known = list(target) if is_dict else [f.name for f in dataclasses.fields(target)]  # type: ignore[arg-type, call-overload]
    hints = {} if is_dict else get_type_hints(type(target))
    merged: dict[str, Any] = {}
    for name, value in changes.items():
        where = f"{path}.{name}" if path else name
        if name not in known:
            raise ValueError(f"unknown configuration value {where}.{nearest(name, known)}")
        current = target[name] if is_dict else getattr(target, name)  # type: ignore[index]
        nested = dataclasses.is_dataclass(current) or (
            isinstance(current, dict) and any(dataclasses.is_dataclass(v) for v in current.values())
        )
        if nested and not isinstance(value, dict):
            raise ValueError(f"{where} is a group of values and cannot be {value!r}")
        if nested:
            value = overlay(current, value, where)
        elif isinstance(current, tuple):
            value = _fit(value, hints.get(name), where)
        elif callable(current):
            value = current
        elif isinstance(current, dict):
            if not isinstance(value, dict):
                raise ValueError(f"{where} must be a mapping, not {value!r}")
            value = _tuples(value)
        else:
            value = _fit(value, hints.get(name), where)
        merged[name] = value
    if is_dict:
        return {**target, **merged}  # type: ignore[return-value, dict-item]
    return dataclasses.replace(target, **merged)  # type: ignore[type-var]


def _tuples(value: Any) -> Any:
    """Plain values with tuples where YAML makes lists."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def _fit(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type of its field; ValueError where it is of another kind."""
    choices = get_args(hint)
    if get_origin(hint) is Literal and value not in choices:
        known = [str(choice) for choice in choices]
        raise ValueError(
            f"{where} must be one of {', '.join(known)}, not {value!r}.{nearest(str(value), known)}"
        )
    if get_origin(hint) is tuple:
        count = None if choices[-1] is Ellipsis else len(choices)
        if not isinstance(value, (list, tuple)) or count not in (None, len(value)):
            raise ValueError(f"{where} must be a list of {count or 'any number of'} values, not {value!r}")
        return tuple(_fit(item, choices[0], where) for item in value)
    if hint is float and not isinstance(value, bool):
        try:
            return float(value)  # YAML reads 1e-3 as text
        except (TypeError, ValueError):
            pass
    if hint in _KINDS and (not isinstance(value, hint) or (hint is int and isinstance(value, bool))):
        raise ValueError(f"{where} must be {_KINDS[hint]}, not {value!r}")
    return value


def to_plain(value: Any) -> Any:
    """Nested dataclasses as dictionaries of plain values; functions become their names."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    return value.__name__ if callable(value) else value


CHECKSUM = "# sha256 of what follows: "
"""First words of a configuration's first line."""


def save_config(cfg: RunConfig, path: Path) -> None:
    """Write the resolved configuration, whole or not at all, under its checksum; its plugins go beside it."""
    plugins.keep(path.parent, cfg.plugin)
    _write(to_plain(cfg), path)


def change_saved(path: Path, **values: Any) -> None:
    """Change plain values of a saved configuration; all else stays as it is there, also of an older version's.

    Raises:
        ValueError: it is damaged, as `load_config` says.
    """
    plain = yaml.safe_load(_checked(path.read_text(), path))
    if plain | values != plain:
        _write(plain | values, path)


def _write(plain: dict[str, Any], path: Path) -> None:
    text = yaml.safe_dump(plain, sort_keys=False, width=100)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(f"{CHECKSUM}{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    os.replace(temporary, path)


def _checked(text: str, path: Path) -> str:
    """A configuration without its checksum; ValueError if it is not what was written. Older ones have none."""
    first, _, rest = text.partition("\n")
    if not first.startswith(CHECKSUM):
        return text
    if hashlib.sha256(rest.encode()).hexdigest() != first.removeprefix(CHECKSUM):
        raise ValueError(
            f"{path} is damaged, or was changed after it was written; if you changed it, delete its first line"
        )
    return rest


def load_config(path: Path) -> RunConfig:
    """Read a configuration written by `save_config`; ValueError with one sentence if it cannot be."""
    try:
        plain = yaml.safe_load(_checked(path.read_text(), path))
    except FileNotFoundError as error:
        raise ValueError(f"{path.parent} is not a run folder: it has no {path.name}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid YAML") from error
    if not isinstance(plain, dict) or "task" not in plain:
        raise ValueError(f"{path} is not a run's configuration: it names no task")
    try:
        plugins.load_kept(path.parent, own := plain.get("plugin", ()))
        plugins.follow(plain["env"]["robot"], path.parent, own)
        fill_in(plain["env"])
        task, recipe = plain["task"], plain.get("recipe", "")
        if task not in all_tasks() and (origin := origin_of(path.parent, task)):
            raise ValueError(f"run {path.parent} trains the task {task}, which is not here{origin}")
        default = default_config(task, recipe)
        take_terms(default.env, plain["env"], get_task(task).recipe(recipe).env.__module__)
        # what is newer than the run has its neutral value, not the one that the recipe gives it today
        today = {name: getattr(default.env, name) for name in ("robot", "rewards", "observations")}
        default = replace(default, env=EnvConfig(**today), agent=LearnerConfig())
        cfg = overlay(default, plain)
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{path} does not fit this version's configuration ({error})") from error
    check_numbers(vars(cfg), str(path))
    return cfg


def changes(old: Any, new: Any, path: str = "") -> dict[str, Any]:
    """Path -> value of what is new in a plain configuration (see `to_plain`)."""
    if isinstance(new, dict) and isinstance(old, dict) and new:
        parts = (changes(old.get(key), value, f"{path}.{key}".lstrip(".")) for key, value in new.items())
        return {name: value for part in parts for name, value in part.items()}
    return {} if old == new else {path: new}


def changes_of_recipe(recipe: RunConfig, cfg: RunConfig) -> dict[str, Any]:
    """Path -> value of what `cfg` has otherwise than its recipe; a reward that is newer than `cfg` has weight 0."""
    old, new = to_plain(recipe), to_plain(cfg)
    for name, term in old["env"]["rewards"].items():
        new["env"]["rewards"].setdefault(name, term | {"weight": 0.0})
    return changes(old, new)


def train_command(cfg: RunConfig) -> str:
    """The command that trains with this configuration."""
    default = default_config(cfg.task, cfg.recipe)
    default.seed = -1  # always named
    flags = [f"--task {cfg.task}", f"--recipe {cfg.recipe}"]
    ignored = {
        "task",
        "recipe",
        "run_name",
        "experiment_name",
        "log_dir",
        "num_threads",
        "resume",
        "load_run",
    }
    ignored |= {"logger", "wandb_project", "notes"}
    for path, value in changes_of_recipe(default, cfg).items():
        if path not in ignored:
            text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            flags.append(f"--{path} {text}")
    return " ".join(["python scripts/train.py", *flags])


def parse(argv: Sequence[str] | None = None, default: RunConfig | None = None) -> RunConfig:
    """Configuration from the command line; flags change `default`, or else the recipe that they name.

    Raises:
        ValueError: unknown flags, bad values, and a run to go on with that is not told to.
    """
    args, help_asked = take_help(list(sys.argv[1:] if argv is None else argv))
    args = as_flags(args, RunConfig())
    own = plugins.load_more(plugins.of_line(args), default.plugin if default else ())
    task = _peek(args, "task")
    if task == "":
        raise ValueError("--task is empty; leave it out for anymal_c_flat, or see --list")
    task = task or "anymal_c_flat"
    default = default or default_config(task, _peek(args, "recipe") or _recipe_here(task, args))
    if help_asked is not None:
        show_help(default, help_asked)
        sys.exit()
    flags = parse_flags(default, args)
    if not flags.resume and (flags.load_run not in ("", "-1") or flags.checkpoint >= 0):
        raise ValueError(
            "--load_run and --checkpoint say which run goes on: give --resume, or --init_from alone for a new run "
            "with old weights"
        )
    if flags.sim_device or flags.rl_device:
        flags.device = flags.sim_device or flags.rl_device
    flags.task = default.task
    flags.plugin = own
    plugins.check_keepable(own)
    return flags


def _recipe_here(task: str, args: list[str]) -> str:
    """Name of a task's recipe for the device that flags name; the default where they name none that there is."""
    names = [_peek(args, flag) for flag in ("sim_device", "rl_device", "device")]
    device = next((name for name in names if name), "auto")
    with contextlib.suppress(ValueError):
        found = get_task(task)
        chosen, _ = choose_device(device, _peek(args, "engine") or "auto", found.recipe("").env().robot)
        return found.default_on(chosen)
    return ""


def _peek(args: list[str], name: str) -> str | None:
    """Value of a flag before the rest of the line can be understood."""
    for i, arg in enumerate(args):
        flag, equals, value = arg.partition("=")
        if flag.replace("-", "_") == f"__{name}":
            return value if equals else next(iter(args[i + 1 :]), None)
    return None
