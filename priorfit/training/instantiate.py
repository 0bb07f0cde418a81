"""Building objects from configuration, with errors that name the mistake."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from priorfit.registry import closest


def instantiate(config: DictConfig, *args: Any, **overrides: Any) -> Any:
    """Builds the object that `_target_` names, from plain Python containers.

    Raises:
        ValueError: an argument that its constructor does not take, or one it refuses.
    """
    target = hydra.utils.get_object(config._target_)
    takes = inspect.signature(target).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in takes.values())
    for key in config:
        if not free and not str(key).startswith("_") and key not in takes:
            raise ValueError(f"{config._target_} takes no '{key}': {closest(str(key), takes)}")
    try:
        return hydra.utils.instantiate(config, *args, _convert_="all", **overrides)
    except InstantiationException as error:
        if isinstance(error.__cause__, ValueError | TypeError):
            raise ValueError(f"{config._target_}: {error.__cause__}") from error.__cause__
        raise


def plain_config(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain, resolved dictionaries and lists."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def run_with_hints(command: Callable[[], Any]) -> None:
    """Runs a Hydra entry point; after a failure it prints the nearest valid names of unknown options."""
    try:
        command()
    except SystemExit as stop:
        hints = suggestions(sys.argv[1:]) if stop.code else []
        if hints:
            print("\n".join(hints), file=sys.stderr)
        raise


def suggestions(arguments: Iterable[str]) -> list[str]:
    """For every `group=option` among command-line arguments whose option is unknown, the nearest known one."""
    root = resources.files("priorfit.configs")
    groups = {folder.name: folder for folder in root.iterdir() if folder.is_dir()}
    hints = []
    for argument in arguments:
        group, _, option = argument.lstrip("+~").partition("=")
        if group not in groups:
            near = difflib.get_close_matches(group.split(".")[0], groups, n=1)
            hints += [f"'{group}': did you mean '{near[0]}'?"] if near and "." not in group else []
            continue
        known = [entry.name.removesuffix(".yaml") for entry in groups[group].iterdir() if entry.name.endswith(".yaml")]
        if option not in known:
            hints.append(f"{group}={option}: {closest(option, known)}")
    return hints
