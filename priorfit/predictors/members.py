"""The members of an ensemble: one table, seen in several ways.

Letters: n rows, F features, C classes, K classes that the network tells apart, E members, D digits of a class's code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.random import RandomState


class Member(NamedTuple):
    """How one member sees the table.

    Attributes:
        features: the columns, in its order.
        codes: the class that the network sees in the place of each class, C of them; none for regression.
        transform: what is done to numeric columns (see `priorfit.predictors.input_maps`).
        rows: the training rows that it sees, or None for all.
    """

    features: list[int]
    codes: list[int]
    transform: str
    rows: list[int] | None


class Room(NamedTuple):
    """The largest tables that a network is shown.

    Attributes:
        rows: n, or None for any number.
        features: F.
        classes: K.
    """

    rows: int | None
    features: int
    classes: int


def draw_members(
    n_estimators: int,
    features: Sequence[int],
    y: ndarray,
    n_classes: int,
    room: Room,
    transforms: Sequence[str],
    random: RandomState,
) -> list[Member]:
    """Members, the first of which sees columns and classes in their own order.

    The others see columns in random order and classes rotated; transforms are taken in turn. Where there is more than
    the network takes, each sees random columns, and random rows with every class in about its own share. Where there
    are too many classes each member becomes D members (see `class_codes`).

    Args:
        n_estimators: members, E; E * D are returned, those that differ in the digit only side by side.
        features: columns to choose from.
        y: targets or indices of classes, (n,).
        n_classes: C, or 0 for regression.
        room: what the network takes.
        transforms: names of input maps.
        random: where the rest comes from.
    """
    members = []
    for index in range(n_estimators):
        order = list(features)
        if index or len(order) > room.features:
            order = random.permutation(order)[: room.features].tolist()
        rows = _subset(y, n_classes, room.rows, random)
        turn = index + index // math.lcm(len(transforms), max(n_classes, 1))  # all rotations meet all transforms
        transform = transforms[index % len(transforms)]
        for codes in class_codes(n_classes, room.classes, turn, random):
            members.append(Member(order, codes, transform, rows))
    return members


def n_digits(n_classes: int, most: int) -> int:
    """How many classifications into at most K groups tell C classes apart: the least D with K^D >= C."""
    digits = 1
    while most**digits < n_classes:
        digits += 1
    return digits


def class_codes(n_classes: int, most: int, turn: int, random: RandomState) -> list[list[int]]:
    """D maps from C classes to at most K groups, which together tell all classes apart.

    With C <= K one map, which rotates the classes by `turn`. Else output codes: classes, in random order after the
    first turn, are numbered to the base K, and each map is one digit (the first added to the others, so that every
    group occurs in every map): groups are as small as K of them can be.

    Source: Dietterich and Bakiri 1995, "Solving Multiclass Learning Problems via Error-Correcting Output Codes".
    """
    if n_classes <= most or not n_classes:
        return [[(index + turn) % n_classes for index in range(n_classes)]]
    digits = n_digits(n_classes, most)
    numbers = random.permutation(n_classes) if turn else np.arange(n_classes)
    parts = [numbers // most**place % most for place in range(digits)]
    return [parts[0].tolist(), *(((part + parts[0]) % most).tolist() for part in parts[1:])]


def _subset(y: ndarray, n_classes: int, n_rows: int | None, random: RandomState) -> list[int] | None:
    """Random rows, at most `n_rows` of them, in their own order; of each class about its share and at least one."""
    if n_rows is None or len(y) <= n_rows:
        return None
    order = random.permutation(len(y))
    if n_classes:
        # A class's rows stand at even distances from 0 to 1: what comes first has every class in its share.
        order = order[np.argsort(y[order], kind="stable")]
        counts = np.bincount(y, minlength=n_classes)
        place = np.arange(len(y)) - np.repeat(np.cumsum(counts) - counts, counts)
        share = place / np.repeat(counts, counts)
        order = order[np.argsort(np.where(place == 0, -1.0, share), kind="stable")]
    return np.sort(order[:n_rows]).tolist()
