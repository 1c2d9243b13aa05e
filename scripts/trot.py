"""All commands from any folder: `trot train ...` is `python scripts/train.py ...`.

For a shell that completes them: `trot completion bash > ~/.local/share/bash-completion/completions/trot`.
"""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Union

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import runs.interrupt  # noqa: F401 # isort: skip

OWN = {
    "list": "Print all that can be chosen by name: tasks, robots, kinds of terrain, curricula, policies.",
    "completion": "Print a script that makes a shell (bash or zsh) complete commands and flags.",
}
"""Commands without a file."""


def commands() -> dict[str, str]:
    """Name of each command -> what it does; nothing is imported for it."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    found = {file.stem.replace("_", "-"): file for file in files if file.stem != Path(__file__).stem}
    docs = {name: ast.get_docstring(ast.parse(file.read_text())) or "" for name, file in found.items()}
    return {name: doc.split("\n")[0].split(": `")[0].rstrip(".") + "." for name, doc in docs.items()} | OWN


def main() -> int:
    """Run the command that the first word names; returns the exit status."""
    known = commands()
    name, *args = sys.argv[1:] or ["--help"]
    name = name.replace("_", "-")
    if name in ("-h", "--help"):
        print("usage: trot COMMAND [--help] [OPTIONS]\n")
        print("\n".join(f"  {command:20} {what}" for command, what in known.items()))
        return 0
    if name not in known:
        from robots.config import nearest

        near = nearest(name, list(known))
        print(f"trot: unknown command {name!r}; choose from {', '.join(known)}.{near}", file=sys.stderr)
        return 2
    if name == "completion":
        return print_completion(args, known)
    if name == "list":
        args = ["--list", *args]
    sys.argv = [f"trot {name}", *args]
    # the command first: it says how torch's threads wait before torch is imported
    chosen = import_module(f"scripts.{'train' if name == 'list' else name.replace('-', '_')}")
    if "command" in vars(chosen):
        chosen.command(chosen.main)
    return chosen.main()  # sim2sim answers for itself, so that it starts without torch


def print_completion(args: list[str], known: dict[str, str]) -> int:
    """Print what tyro makes of every command's flags; returns the exit status."""
    import tyro

    from runs.config import default_config

    shell = args[0] if args else "bash"
    if shell not in ("bash", "zsh"):
        print(f"trot completion: there is one for bash and for zsh, not for {shell!r}", file=sys.stderr)
        return 2
    modules = {name: import_module(f"scripts.{name.replace('-', '_')}") for name in known if name not in OWN}
    flags = {name: module.Flags() for name, module in modules.items() if hasattr(module, "Flags")}
    flags["train"] = default_config("anymal_c_rough")
    kinds = (
        Annotated[type(default), tyro.conf.subcommand(name=name, default=default)]
        for name, default in flags.items()
    )
    kind: Any = Union[tuple(kinds)]  # noqa: UP007
    tyro.cli(kind, prog="trot", args=["--tyro-print-completion", shell])
    return 0


if __name__ == "__main__":
    sys.exit(main())
