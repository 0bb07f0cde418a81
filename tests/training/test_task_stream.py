"""The task stream: every batch a pure function of seed, rank and index."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.utils.data import DataLoader

from priorfit.priors import GaussianProcess, Task
from priorfit.training.task_stream import (
    EVALUATION,
    PREPARATION,
    TRAINING,
    VALIDATION,
    TaskStream,
    task_generator,
)
from tests.cases import assert_same

PRIOR = GaussianProcess({"points": [5, 9], "features": [1, 2]})
LARGE = 2**32


def stream(seed: int = 3, rank: int = 0, start: int = 0) -> TaskStream:
    return TaskStream(PRIOR, 4, seed, rank, start)


def first(tasks: TaskStream | DataLoader, count: int) -> list[Task]:
    return list(itertools.islice(iter(tasks), count))


def numbers(seed: int, purpose: int, rank: int = 0, index: int = 0) -> tuple[float, ...]:
    """The first draws of a generator: equal for equal generators, and by chance never else."""
    return tuple(torch.rand(4, generator=task_generator(seed, purpose, rank, index), dtype=torch.float64).tolist())


def test_iterating_gives_the_numbered_batches() -> None:
    for index, task in enumerate(first(stream(), 4)):
        assert_same(task, stream().batch(index))


def test_batches_do_not_depend_on_what_was_drawn_before() -> None:
    tasks = stream()
    expected = tasks.batch(7)
    torch.manual_seed(0)
    tasks.batch(2)
    assert_same(tasks.batch(7), expected)


def test_a_resumed_stream_goes_on_where_it_stopped() -> None:
    whole = first(stream(), 6)
    resumed = first(stream(start=4), 2)
    assert_same(resumed[0], whole[4])
    assert_same(resumed[1], whole[5])


def test_iterating_twice_starts_again() -> None:
    tasks = stream(start=2)
    assert_same(first(tasks, 2)[1], first(tasks, 2)[1])


# A machine with one core warns of two workers, and Python 3.12 of forking a process that has threads.
@pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2, 3])
def test_workers_do_not_change_the_order(workers: int) -> None:
    loader = DataLoader(stream(start=3), batch_size=None, num_workers=workers)
    for index, task in enumerate(first(loader, 7)):
        assert isinstance(task, Task)
        assert_same(task, stream().batch(3 + index))


def test_batches_ranks_and_seeds_all_differ() -> None:
    drawn = {
        numbers(seed, TRAINING, rank, index)
        for seed, rank, index in itertools.product((0, 1, 2, 17), (0, 1, 2, 3), (0, 1, 2, 1000))
    }
    assert len(drawn) == 4 * 4 * 4
    ranks = [stream(rank=rank).batch(0) for rank in range(3)]
    assert len({task.hidden[0, 0].item() for task in ranks}) == 3


def test_seeds_that_agree_in_their_low_32_bits_differ() -> None:
    seeds = [5, 5 + LARGE, 5 + 2 * LARGE, 5 + LARGE * LARGE, LARGE, 0, 2 * LARGE]
    assert len({numbers(seed, TRAINING) for seed in seeds}) == len(seeds)
    assert len({numbers(1, TRAINING, 0, index) for index in (3, 3 + LARGE)}) == 2


def test_words_of_large_seeds_are_not_taken_for_other_numbers() -> None:
    """A large seed is several 32-bit words: they must not run into the numbers beside it."""
    drawn = {
        numbers(3, 1, 0, 0),
        numbers(3 + LARGE, 0, 0, 0),
        numbers(3, 1, 0, LARGE),
        numbers(3 + LARGE, 0, 1, 0),
    }
    assert len(drawn) == 4


def test_generators_spread_over_all_of_torch_s_seeds() -> None:
    seeds = [task_generator(0, TRAINING, 0, index).initial_seed() for index in range(2000)]
    low = {seed % LARGE for seed in seeds}  # all that torch's CPU generator keeps
    assert len(low) == 2000
    assert sum(seed % 2 for seed in seeds) / 2000 == pytest.approx(0.5, abs=0.06)


def test_purposes_never_meet() -> None:
    purposes = (TRAINING, VALIDATION, PREPARATION, EVALUATION)
    drawn = {
        numbers(seed, purpose, rank, index)
        for purpose, seed, rank, index in itertools.product(purposes, range(4), range(4), range(4))
    }
    assert len(drawn) == 4**4


def test_generator_is_a_pure_function() -> None:
    assert numbers(3, VALIDATION, 1, 2) == numbers(3, VALIDATION, 1, 2)


@pytest.mark.parametrize("arguments", [(-1, 0), (0, -1), (0, 0, -1), (0, 0, 0, -1)])
def test_negative_numbers_are_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="negative"):
        task_generator(*arguments)
