"""Experiments as data: variants of a configuration x seeds, read from YAML and checked before anything starts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from robots.config import nearest
from runs.config import RunConfig, default_config, load_config, overlay, save_config
from runs.plugins import check_keepable, differing, load_more
from runs.training import validate
from terrains.curriculum import STRATEGIES

BATCH = 98_304
"""Samples an update of the `batch` experiment: the published 4,096 robots x 24 steps."""
STEPS = (6, 12, 24, 48, 96)
"""Steps of every robot between updates that it compares."""
CHOOSES = ("task", "recipe", "gpus")
"""What chooses a configuration, or where it is trained, beside what changes it."""
CHANGES = ("num_envs", "max_iterations", "device", "engine", "env", "agent")
"""Where a path of a declared value may begin."""
MAY_DIFFER = ("max_iterations", "num_threads", "device", "engine")
"""What may change when a run goes on."""


@dataclass
class Experiment:
    """What is compared: every variant is trained with every seed."""

    name: str
    task: str = "anymal_c_rough"
    recipe: str = ""
    gpus: float = 0.0
    """GPUs, or the share of one, that a run asks a cluster for."""
    seeds: tuple[int, ...] = (1, 2, 3)
    common: dict[str, Any] = field(default_factory=dict)
    """Path of a configuration value -> value, for all variants."""
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of a variant -> path -> value, over those of `common`."""
    plugin: tuple[str, ...] = ()
    """Files or packages with tasks, robots, terrains or curricula; in a YAML file, relative to it."""


@dataclass
class StudyRun:
    """One run of an experiment."""

    variant: str
    seed: int
    cfg: RunConfig
    folder: Path
    gpus: float = 0.0
    """GPUs, or the share of one, that it asks a cluster for."""

    @property
    def name(self) -> str:
        """`<variant>_seed<k>`."""
        return f"{self.variant}_seed{self.seed}"

    @property
    def on_map(self) -> bool:
        """Whether its ground is a map, so that success on kinds of terrain is tested too."""
        return self.cfg.env.terrain.type != "plane"

    @property
    def log(self) -> Path:
        """What its programs print."""
        return self.folder.with_name(f"{self.name}.log")  # a name may have dots, as lr0.1


def curriculum(batch: int) -> Experiment:
    """Every strategy of the curriculum, and none."""
    variants: dict[str, dict[str, Any]] = {
        name: {"env.curriculum.strategy": name} for name in STRATEGIES if name != "fixed"
    }
    # all levels are open after two thirds of the training, so that it is not judged before it got there
    variants["linear"]["env.curriculum.linear_steps"] = 9600
    return Experiment("curriculum", common={"num_envs": 1024, "max_iterations": 1200}, variants=variants)


def batch_study(batch: int) -> Experiment:
    """Robots x steps at a constant number of samples an update (Rudin et al. 2021, section 4.1)."""
    if batch < 1 or batch % max(STEPS):
        raise ValueError(f"--batch must be a multiple of {max(STEPS)}, not {batch}")
    return Experiment(
        "batch",
        common={"max_iterations": 600},
        variants={
            f"{batch // steps}x{steps}": {"num_envs": batch // steps, "agent.ppo.num_steps": steps}
            for steps in STEPS
        },
    )


BUILT_IN: dict[str, Callable[[int], Experiment]] = {"curriculum": curriculum, "batch": batch_study}
"""Experiments by name; a function of the samples an update."""


def get_experiment(name: str, batch: int = BATCH) -> Experiment:
    """A built-in experiment or a YAML file's; ValueError with one sentence if it is neither."""
    if name in BUILT_IN:
        return BUILT_IN[name](batch)
    path = Path(name)
    try:
        plain = yaml.safe_load(path.read_text())
    except OSError as error:
        known = list(BUILT_IN)
        raise ValueError(
            f"no experiment and no file {name!r}; built in: {', '.join(known)}.{nearest(name, known)}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" (line {where.line + 1})" if where else ""
        raise ValueError(f"{path} is not valid YAML{line}") from error
    return declared(plain, path)


def declared(plain: Any, path: Path) -> Experiment:
    """What a YAML file declares; ValueError with one sentence that names the file and what is wrong."""
    if not isinstance(plain, dict):
        raise ValueError(f"{path} declares no experiment: it must be a mapping with `variants`")
    known = [f.name for f in fields(Experiment)]
    for key in plain:
        if key not in known:
            raise ValueError(
                f"{path}: unknown entry {key!r}; choose from {', '.join(known)}.{nearest(str(key), known)}"
            )
    experiment = Experiment(**{"name": path.stem, **plain})
    for key in ("name", "task", "recipe"):
        if not isinstance(getattr(experiment, key), str):
            raise ValueError(f"{path}: {key} must be text, not {getattr(experiment, key)!r}")
    if not isinstance(experiment.seeds, (list, tuple)):
        raise ValueError(f"{path}: seeds must be a list of whole numbers, not {experiment.seeds!r}")
    experiment.common = _mapping(experiment.common, f"{path}: common")
    variants = _mapping(experiment.variants, f"{path}: variants")
    experiment.variants = {
        name: _mapping(values, f"{path}: variant {name!r}") for name, values in variants.items()
    }
    experiment.seeds = tuple(experiment.seeds)
    own = [experiment.plugin] if isinstance(experiment.plugin, str) else experiment.plugin
    if not isinstance(own, (list, tuple)) or not all(isinstance(each, str) for each in own):
        raise ValueError(f"{path}: plugin must be a path or a list of them, not {experiment.plugin!r}")
    experiment.plugin = load_more([str(path.parent / each) for each in own])
    return experiment


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, (dict, type(None))):
        raise ValueError(f"{where} must be a mapping, not {value!r}")
    return {str(key): item for key, item in (value or {}).items()}


def make_runs(
    experiment: Experiment, folder: Path, num_threads: int = 1, here: bool = True
) -> list[StudyRun]:
    """Every run with its whole configuration; nothing is written.

    Args:
        experiment: what is declared.
        folder: the experiment's folder.
        num_threads: threads of each run.
        here: whether this machine trains them, and is asked for its devices and memory.

    Raises:
        ValueError: one sentence for a name, value or seed that cannot work, or for variants that are one and
            the same.
    """
    seeds = experiment.seeds
    if not seeds or not all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in seeds):
        raise ValueError(f"seeds must be whole numbers, at least one, not {list(seeds)}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must differ, not {list(seeds)}")
    for name in (experiment.name, *experiment.variants):
        if not re.fullmatch(r"[\w.+-]+", name):
            raise ValueError(f"name {name!r} must be made of letters, digits and _ . + -")
    if not experiment.variants:
        raise ValueError(f"experiment {experiment.name} has no variants")
    check_keepable(experiment.plugin)
    configs: dict[str, RunConfig] = {}
    for name, values in experiment.variants.items():
        try:
            configs[name] = variant_config(experiment, values, here)
        except ValueError as error:
            raise ValueError(f"variant {name!r}: {error}") from error
        same = [other for other in configs if other != name and configs[other] == configs[name]]
        if same:
            raise ValueError(f"variants {same[0]!r} and {name!r} are the same")
    return [
        StudyRun(
            name,
            seed,
            seeded(overlay(cfg, {"num_threads": num_threads}), seed),
            folder / "runs" / f"{name}_seed{seed}",
            {**experiment.common, **experiment.variants[name]}.get("gpus", experiment.gpus),
        )
        for seed in seeds
        for name, cfg in configs.items()
    ]


def seeded(cfg: RunConfig, seed: int) -> RunConfig:
    """The same with a seed, and a map of its own: else one map's luck would pass for a variant's skill."""
    return overlay(cfg, {"seed": seed, "env": {"terrain": {"seed": cfg.env.terrain.seed + seed}}})


def variant_config(experiment: Experiment, values: dict[str, Any], here: bool = True) -> RunConfig:
    """A variant's configuration; ValueError for a path or a value that does not exist. `here`: see `make_runs`."""
    values = {**experiment.common, **values}
    task, recipe, gpus = (values.pop(key, getattr(experiment, key)) for key in CHOOSES)
    if isinstance(gpus, bool) or not isinstance(gpus, (int, float)) or not 0.0 <= gpus < math.inf:
        raise ValueError(f"gpus must be a number that is not negative, such as 0.5, not {gpus!r}")
    cfg = replace(default_config(task, recipe), plugin=experiment.plugin)
    for path, value in values.items():
        names = path.split(".")
        if names[0] not in CHANGES:
            known = [*CHANGES, *CHOOSES]
            raise ValueError(
                f"unknown configuration value {path}; it must begin with one of {', '.join(known)}."
                f"{nearest(names[0], known)}"
            )
        for name in reversed(names):
            value = {name: value}
        cfg = overlay(cfg, value)
    for path in values:
        if path.startswith("env.curriculum") and cfg.env.terrain.type == "plane":
            raise ValueError(f"{path} has no effect on task {task}, which is on a plane")
    validate(cfg, here=here)
    return cfg


def prepare(run: StudyRun) -> None:
    """Make the run's folder with its configuration, unless it is there.

    Raises:
        ValueError: it is there with another configuration, or another plugin.
    """
    path = run.folder / "config.yaml"
    if not path.is_file():
        run.folder.mkdir(parents=True, exist_ok=True)
        save_config(run.cfg, path)
        return
    if changed := differing(run.folder, run.cfg.plugin):
        raise ValueError(
            f"{changed[0]} has changed since {run.folder} was made: its runs could not be compared; give another "
            "--folder or name"
        )
    free = {name: getattr(run.cfg, name) for name in MAY_DIFFER}
    if overlay(load_config(path), free) != run.cfg:
        raise ValueError(
            f"{run.folder} holds a run with another configuration than variant {run.variant!r} declares; "
            "give another --folder or name"
        )
