"""Names for classes: how configurations and checkpoints refer to priors and networks.

A checkpoint names the classes it needs; only classes that were registered by code already imported can be
built from it, so no import path in a file is ever followed.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T", bound="Registered")
C = TypeVar("C", bound=type)


def closest(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown `name`: the nearest known one, then all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}Known: {', '.join(names) or 'none'}."


class Registered:
    """Remembers the constructor's arguments, so that an object can be written to a file and built again.

    Attributes:
        arguments: every constructor argument by name, defaults included. Plain numbers, strings, lists and
            dictionaries, so that they survive JSON.
        registered_name: the name given by `Registry.register`.
    """

    registered_name: str
    arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self = super().__new__(cls)
        # Copying and unpickling call __new__ without arguments and restore them afterwards: hence "partial".
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        bound.apply_defaults()
        named = {name: plain(value) for name, value in list(bound.arguments.items())[1:]}
        object.__setattr__(self, "arguments", named)
        return self

    def replace(self, **changes: Any) -> Self:
        """A new object of this class with some constructor arguments changed."""
        return type(self)(**{**self.arguments, **changes})


def plain(value: Any) -> Any:
    """`value` with every mapping a dict and every sequence a list (Hydra passes its own container types)."""
    if hasattr(value, "items"):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [plain(item) for item in value]
    return value


class Registry(Generic[T]):
    """Maps names to classes of one family.

    Args:
        kind: what the family is called in error messages, for instance "prior".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.classes: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[C], C]:
        """Class decorator that makes a class known as `name`.

        Raises:
            ValueError: `name` is taken by another class.
        """

        def decorate(cls: C) -> C:
            known = self.classes.get(name)
            if known is not None and known.__qualname__ != cls.__qualname__:
                raise ValueError(f"The {self.kind} name '{name}' is taken by {known.__qualname__}; choose another.")
            cls.registered_name = name
            self.classes[name] = cls  # type: ignore[assignment]
            return cls

        return decorate

    def build(self, name: str, arguments: dict[str, Any]) -> T:
        """Builds the class known as `name`.

        Raises:
            ValueError: no such name, or arguments that its constructor does not take.
        """
        if name not in self.classes:
            raise ValueError(f"Unknown {self.kind} '{name}': {closest(name, self.classes)}")
        cls = self.classes[name]
        takes = [key for key in inspect.signature(cls.__init__).parameters if key != "self"]
        for key in arguments:
            if key not in takes:
                raise ValueError(f"The {self.kind} '{name}' takes no argument '{key}': {closest(key, takes)}")
        return cls(**arguments)
