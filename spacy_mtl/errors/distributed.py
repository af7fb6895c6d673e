"""Training in several processes."""

from collections.abc import Iterable

from .base import CheckpointError, ConfigError, listed


class DistributedError(Exception):
    """Several processes that train together cannot go on. Names the one to blame."""


def not_launched(missing: Iterable[str]) -> DistributedError:
    return DistributedError(
        f"The environment does not say which processes train together: it has no {listed(missing)}. Start with "
        "`torchrun --nproc-per-node 2 -m spacy_mtl.train_distributed CONFIG`, or train in one process with "
        "`python -m spacy train CONFIG`."
    )


def no_such_gpu(local_rank: int, *, n_gpus: int) -> DistributedError:
    return DistributedError(
        f"`--gpu`: process {local_rank} of this machine has no GPU, there are {n_gpus}. Start at most as many "
        "processes on each machine as it has GPUs (`--nproc-per-node`), or leave out `--gpu`."
    )


def ranks_missing(ranks: Iterable[int], *, seconds: float) -> DistributedError:
    return DistributedError(
        f"Rank {listed(ranks)} did not connect to rank 0 within {seconds:.0f} seconds. Check that it was started with "
        "the same `MASTER_ADDR`, and that the machines reach each other on all ports."
    )


def rank_died(rank: int, *, host: str, pid: int) -> str:
    return (
        f"Rank {rank} (process {pid} on `{host}`) has died without a word: killed, out of memory, or its machine is "
        "gone. The training ends. `--resume` goes on from the last checkpoint, if one was written."
    )


def rank_failed(rank: int, *, host: str, pid: int, reason: object) -> str:
    return (
        f"Rank {rank} (process {pid} on `{host}`) has failed: {reason} The training ends. Once that is mended, "
        "`--resume` goes on from the last checkpoint, if one was written."
    )


def collective_failed(reason: object) -> DistributedError:
    return DistributedError(f"The processes could not exchange their gradients: {reason}")


def documents_differ(rank: int, *, step: int) -> DistributedError:
    return DistributedError(
        f"In step {step} rank {rank} has other documents in its batch than the other ranks, so the batch cannot be "
        "shared out: the reader of `[training] train_corpus` has to give every process the same documents in the same "
        "order. Let it read its files in a sorted order, and take random choices from a seed of its own or from the "
        "generators of `random` and `numpy.random`."
    )


def documents_end(rank: int, *, step: int, ended: bool) -> DistributedError:
    does = (
        "has no batch left while others have"
        if ended
        else "has a batch left while others have none"
    )
    return DistributedError(
        f"In step {step} rank {rank} {does}: the reader of `[training] train_corpus` has to give every process the "
        "same documents. Check that all machines have the same files."
    )


def other_parameters(names: Iterable[str], *, rank: int) -> DistributedError:
    return DistributedError(
        f"{listed(names)} on rank {rank} is not what it is on rank 0: other labels, or parameters of another shape. "
        "Check that all machines have the same config, corpora and versions, or give the labels in "
        "`[initialize.components]`."
    )


def cannot_sum(name: str, *, found: type) -> ConfigError:
    return ConfigError(
        f"`components.{name}` cannot be trained in several processes: its parameters are in a `{found.__name__}`, and "
        "only gradients of thinc's layers and of torch modules inside them can be summed. Add it to "
        "`training.frozen_components`, or train with `python -m spacy train CONFIG`."
    )


def cannot_audit(value: int) -> ConfigError:
    return ConfigError(
        f"`training.logger.audit_every = {value}` works in one process only: it compares whole gradients of the "
        "encoder, of which each process has a part. Set it to 0."
    )


def resume_needs_output() -> ConfigError:
    return ConfigError("`--resume` needs `--output`: the folder of the training that is to go on.")


def no_checkpoint(path: object) -> CheckpointError:
    return CheckpointError(
        f"There is no checkpoint in `{path}`: the training ended before its first evaluation, or it was not started "
        "with `spacy_mtl.train_distributed`. Leave out `--resume` to start anew."
    )


def damaged_state(path: object, *, reason: object) -> CheckpointError:
    return CheckpointError(
        f"The checkpoint `{path}` is damaged: {reason} Leave out `--resume` to start anew."
    )


def other_world_size(*, then: int, now: int) -> ConfigError:
    return ConfigError(
        f"The checkpoint was written by {then} processes, and now there are {now}: each has a generator of its own for "
        f"dropout, so the training would not go on as it began. Start {then} processes to resume."
    )


def other_documents(step: int) -> ConfigError:
    return ConfigError(
        f"Up to step {step} the corpora and batches are not those that the checkpoint was trained on. Resume with the "
        "same config, files and `--code`, or leave out `--resume` to start anew."
    )
