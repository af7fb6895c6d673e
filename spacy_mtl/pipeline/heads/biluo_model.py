"""Token vectors to the scores of BILUO tags: one linear layer, which can grow."""

from functools import partial

from spacy.tokens import Doc
from thinc.api import Linear, Model, chain, resizable, with_array
from thinc.layers.resizable import resize_linear_weighted, resize_model

from ...types import Array

_NEW_BIAS = (
    -5.0
)  # a label that is added to a trained head is hardly ever predicted before it is trained


def build(tok2vec: Model[list[Doc], list[Array]], nO: int | None) -> Model[list[Doc], list[Array]]:
    """The model of a `biluo_ner`, see `spacy_mtl.pipeline.architectures.make_biluo_tagger`."""
    output = Linear(nO=nO, nI=tok2vec.maybe_get_dim("nO"))
    resize = partial(resize_linear_weighted, fill_defaults={"b": _NEW_BIAS})
    growing: Model = resizable(output, resize_layer=resize)
    model: Model[list[Doc], list[Array]] = chain(tok2vec, with_array(growing))
    model.set_ref("tok2vec", tok2vec)
    model.set_ref("output_layer", output)
    model.attrs["resize_output"] = _resize
    return model


def _resize(model: Model, new_nO: int) -> Model:
    growing = model.layers[-1].layers[0]  # of this model, which may be a copy
    resize_model(growing, new_nO)
    model.set_ref("output_layer", growing.layers[0])
    return model
