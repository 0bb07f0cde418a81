"""`python train.py`: trains a network on a prior and writes a checkpoint."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from omegaconf import DictConfig, OmegaConf

from priorfit import checkpoints
from priorfit.models import Network
from priorfit.prior_check import PriorCheck
from priorfit.priors import Prior
from priorfit.task_files import TaskFile
from priorfit.training.callbacks import StepProgressBar
from priorfit.training.fisher import FisherPenalty
from priorfit.training.instantiate import instantiate, plain_config, run_with_hints
from priorfit.training.module import Amortized
from priorfit.training.task_data import TaskData
from priorfit.training.task_stream import PREPARATION, task_generator

log = logging.getLogger(__name__)


def train(config: DictConfig) -> float | None:
    """Trains as configured; returns the final gap to the reference, or loss, for sweeps.

    Writes `checkpoint.safetensors` (to predict with) and `last.ckpt` (to resume from) into the run's folder.

    Raises:
        ValueError: an impossible configuration, or a run folder that holds another run.
    """
    folder = Path(config.output)
    resume = find_resume(config.resume, folder)
    seed_everything(config.seed)
    file = stored_tasks(config)
    prior: Prior = instantiate(config.prior) if file is None else file.prior
    network: Network = instantiate(config.model)
    if resume is None:  # otherwise the resume point holds what this would set
        prepare(network, prior, config.seed, config.preparation_tasks)
    module = Amortized(
        network,
        instantiate(config.optimizer),
        warmup=config.warmup,
        use_law=config.use_law,
        compile=config.compile,
        identity=identity(config, file),
        fisher=FisherPenalty(config.fisher, prior, config.seed) if config.fisher else None,
    )
    data = TaskData(prior, config.batch_size, config.seed, config.validation, config.num_workers, file)
    trainer = build_trainer(config, folder)
    started = time.perf_counter()
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    seconds = time.perf_counter() - started
    if trainer.global_step < trainer.max_steps:
        log.warning("Stopped at step %d of %d: go on with resume=true.", trainer.global_step, trainer.max_steps)
        return None
    use_averaged_weights(trainer, module)
    metrics = dict(trainer.validate(module, data, verbose=False)[0])
    if trainer.is_global_zero:
        draws = {} if config.num_workers else dict(prior.counts)  # worker processes count for themselves
        if draws:
            log.info("Draws of the prior: %s", draws)
        summary = training_summary(config, trainer, network, seconds, draws)
        if file is not None:
            summary["file"] = {"name": file.path.name, "digest": file.digest, "batches": len(file)}
        export(folder / "checkpoint.safetensors", module, prior, summary, metrics, config.description)
        add_prior_check(folder / "checkpoint.safetensors", network, prior, config.check_tasks, config.seed)
        log.info("Validation: %s", ", ".join(f"{key} {value:.4f}" for key, value in metrics.items()))
    return metrics.get("gap", metrics["val/loss"])


def stored_tasks(config: DictConfig) -> TaskFile | None:
    """The file of tasks to train on, None to draw them; its batch size takes the place of the configured one.

    Raises:
        ValueError: no path is given, or the file cannot be used.
    """
    if OmegaConf.is_missing(config, "path"):
        raise ValueError("data=hdf5 reads tasks from a file: which one? Give path=FILE.")
    if config.path is None:
        return None
    file = TaskFile(config.path).check_complete()
    if file.context_sizes:
        raise ValueError(
            f"The tasks in {file.path} are for evaluation: a network that was trained on them would know the answers. "
            "Write others without --context-sizes."
        )
    configured: Prior = instantiate(config.prior)
    if (file.prior.registered_name, file.prior.arguments) != (configured.registered_name, configured.arguments):
        log.warning("The tasks in %s are of another prior than the configured one: theirs counts.", file.path)
    if file.batch_size != config.batch_size:
        log.warning("Batches have %d tasks, as in %s, not %d.", file.batch_size, file.path, config.batch_size)
        config.batch_size = file.batch_size
    return file


def identity(config: DictConfig, file: TaskFile | None) -> dict[str, Any]:
    """What a run and its continuation have in common."""
    common = {key: plain_config(config)[key] for key in ("prior", "model", "seed", "batch_size")}
    return common if file is None else {**common, "tasks": file.digest}


def find_resume(resume: bool | str, folder: Path) -> str | None:
    """The file to resume from: the run's own `last.ckpt` (True: where there is one), or the one named.

    Raises:
        ValueError: the named file does not exist, or a new run would overwrite one that can be resumed.
    """
    last, finished = folder / "last.ckpt", folder / "checkpoint.safetensors"
    if isinstance(resume, str):
        path = Path(resume) / "last.ckpt" if Path(resume).is_dir() else Path(resume)
        if not path.is_file():
            raise ValueError(f"There is no checkpoint to resume from at {path}.")
        return str(path)
    if not resume and (last.is_file() or finished.is_file()):
        raise ValueError(f"{folder} holds a run: continue it with resume=true, or give this one another name=….")
    return str(last) if resume and last.is_file() else None


def prepare(network: Network, prior: Prior, seed: int, n_tasks: int) -> None:
    """Lets the network set its scales and borders from prior draws: many tasks with the context that it asks for."""
    if type(network).fit_to_prior is Network.fit_to_prior:
        return  # it needs none
    if network.preparation_context is not None:
        prior = prior.with_context(network.preparation_context, network.preparation_queries)
    batches = -(-n_tasks // 500)
    generators = [task_generator(seed, PREPARATION, index=index) for index in range(batches)]
    tasks = [prior.sample(500, generator=generator) for generator in generators]
    parts = ([getattr(task, name) for task in tasks] for name in ("observed", "hidden", "law"))
    network.fit_to_prior(*parts)


def build_trainer(config: DictConfig, folder: Path) -> Trainer:
    """Lightning's trainer with the configured callbacks, logger, and a checkpoint to resume from."""
    resume_point = ModelCheckpoint(
        folder,
        "last",
        every_n_train_steps=min(config.checkpoint_every, config.trainer.max_steps),
        save_on_train_epoch_end=False,
        enable_version_counter=False,
    )
    callbacks = [instantiate(callback) for callback in config.callbacks.values() if callback]
    logger = instantiate(config.logger) if config.logger else False
    options = plain_config(config.trainer)
    return Trainer(callbacks=[*callbacks, resume_point, StepProgressBar()], logger=logger, **options)


def use_averaged_weights(trainer: Trainer, module: Amortized) -> None:
    """Puts averaged weights into the module; a run resumed at its very last step skips Lightning's own hook."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAveraging):
            callback.on_train_end(trainer, module)


def training_summary(
    config: DictConfig, trainer: Trainer, network: Network, seconds: float, draws: Mapping[str, Any]
) -> dict[str, Any]:
    """What a checkpoint says of its training; `draws` is what the prior counted in this process."""
    keys = ("batch_size", "seed", "optimizer", "warmup", "use_law", "fisher", "trainer", "callbacks")
    return {
        "steps": trainer.global_step,
        "tasks": trainer.global_step * config.batch_size * trainer.accumulate_grad_batches * trainer.world_size,
        "seconds_of_last_run": round(seconds, 1),
        "n_parameters": network.n_parameters,
        "draws": draws,
        "config": {key: plain_config(config)[key] for key in keys},
    }


def export(
    path: Path,
    module: Amortized,
    prior: Prior,
    summary: dict[str, Any],
    metrics: dict[str, float],
    description: str,
) -> None:
    """Writes the trained network."""
    measured = {"validation": metrics}
    checkpoints.save(path, module.network, prior, training=summary, metrics=measured, description=description)
    log.info("Wrote %s", path)


def add_prior_check(path: Path, network: Network, prior: Prior, tasks: int, seed: int) -> None:
    """Writes into the trained network's checkpoint what draws of its prior look like, where that can be told."""
    try:
        check = PriorCheck.fit(network, prior, tasks=tasks, seed=seed)
    except ValueError as error:
        log.warning("Predictors will not tell data unlike the prior's: its draws cannot be summarised. %s", error)
        return
    if check is not None:
        checkpoints.update_prior_check(path, check.document())


def run_name(experiment: str | None, prior: str) -> str:
    """What a run is called unless it is given a name: its experiment's name, or without one its prior's."""
    return experiment or prior


OmegaConf.register_new_resolver("run_name", run_name, replace=True)


@hydra.main(version_base="1.3", config_path="pkg://priorfit.configs", config_name="train")
def _main(config: DictConfig) -> float | None:
    return train(config)


def main() -> None:
    """Entry point; after a failure over a configuration's names it adds the nearest valid ones."""
    run_with_hints(_main)


if __name__ == "__main__":
    main()
