"""A head's own small network on the shared token vectors: tried by `lowresource_scores.py`, see NOTES.md.

`x + W_up gelu(W_down x + b_down) + b_up`, a bottleneck with a residual connection whose `W_up` begins at zero, so that
training starts from the shared vectors themselves (Houlsby et al. 2019, arXiv 1902.00751, section 2.1).
"""

from typing import Any

from spacy import registry
from thinc.api import Gelu, Linear, Model, chain, residual, with_array, zero_init

NAME = "benchmarks.Adapter.v1"


@registry.architectures(NAME)
def build(tok2vec: Model[Any, Any], width: int = 64) -> Model[Any, Any]:
    """Stands where a listener would, and has one. width: of the bottleneck."""
    adapter: Model[Any, Any] = residual(chain(Gelu(nO=width), Linear(nI=width, init_W=zero_init)))
    adapter.init = _init
    model = chain(tok2vec, with_array(adapter))
    model.set_ref("tok2vec", tok2vec)
    return model


def _init(model: Model[Any, Any], X: Any = None, Y: Any = None) -> None:
    bottleneck = model.layers[0]
    down, up = bottleneck.layers
    if X is not None:
        for outer in (bottleneck, model):
            outer.set_dim("nI", X.shape[1])
            outer.set_dim("nO", X.shape[1])
        down.set_dim("nI", X.shape[1])
        up.set_dim("nO", X.shape[1])
    down.initialize()
    up.initialize()
