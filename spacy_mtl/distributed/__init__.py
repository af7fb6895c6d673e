"""Data-parallel training: several processes, on one machine or many, train one pipeline as one process would.

Every process is given the same batches, learns from its part of each, and steps with the sum of all gradients. So
`torchrun --nproc-per-node 2 -m spacy_mtl.train_distributed config.cfg` makes the same steps as `spacy train
config.cfg`, up to rounding and chance, and the config needs no change. Chance is dropout, of which each process
draws its own, and what ner and parser draw; see "Training in several processes" in project/README.md.

From Spark the function `train` of this package runs in each of the processes that `TorchDistributor` starts:

    from pyspark.ml.torch.distributor import TorchDistributor
    from spacy_mtl.distributed import train

    distributor = TorchDistributor(num_processes=2, local_mode=False, use_gpu=False)
    distributor.run(train, "/shared/config.cfg", "/shared/output")

Paths have to be ones that all machines can read; rank 0 writes the output. Where rank 0 may be on another machine after
a restart the output has to be on shared storage.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .training import train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    """torch is imported when it is used."""
    if name != "train":
        raise AttributeError(f"module `{__name__}` has no attribute `{name}`")
    from .training import train

    return train
