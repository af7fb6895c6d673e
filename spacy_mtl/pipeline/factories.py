"""Registers our components with spaCy. Found through an entry point, so it imports torch only when used.

spaCy loads every entry point whenever a pipeline is made: this module has to be light, and may never fail.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

from spacy.language import Language
from spacy.pipeline.factories import register_factories
from thinc.api import Model

from .. import registry  # noqa: F401 - makes the registry `balancers`

Scorer = Callable[..., Any] | None
DEFAULTS: dict[str, Any] = {
    # no encoder is right for all languages and machines; without a name `nlp.initialize` says what is missing
    "model": {"@architectures": "spacy_mtl.TransformerEncoder.v1", "name": None},
    "optimizer": None,
    "balancer": {"@balancers": "spacy_mtl.EqualProjection.v1"},
    "calibrate_every": 200,
    "storage": "fp32",
    "save_optimizer": True,
}


@Language.factory("shared_transformer", assigns=["doc.tensor"], default_config=DEFAULTS)
def shared_transformer(
    nlp: Language,
    name: str,
    model: Any,
    optimizer: Any,
    balancer: Any,
    calibrate_every: int,
    storage: str,
    save_optimizer: bool,
) -> Any:
    """See `spacy_mtl.pipeline.shared_transformer.make_shared_transformer`."""
    from .shared_transformer import make_shared_transformer

    return make_shared_transformer(
        nlp,
        name,
        model,
        optimizer,
        balancer,
        calibrate_every=calibrate_every,
        storage=storage,
        save_optimizer=save_optimizer,
    )


@Language.factory("vector_cleaner")
def vector_cleaner(nlp: Language, name: str) -> Callable[[Any], Any]:
    """See `spacy_mtl.pipeline.cleaner.free_vectors`."""
    from .cleaner import free_vectors

    return free_vectors


def drop_in(name: str, **changed: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Registers `masked_NAME` with all that spaCy registers for NAME: default config, score weights and attributes.

    changed: other defaults than spaCy's.
    """
    register_factories()
    spacys = Language.get_factory_meta(name)
    decorator: Callable[[Callable[..., Any]], Callable[..., Any]] = Language.factory(
        f"masked_{name}",
        default_config={**deepcopy(spacys.default_config), **changed},
        assigns=spacys.assigns,
        requires=spacys.requires,
        retokenizes=spacys.retokenizes,
        default_score_weights=dict(spacys.default_score_weights),
    )
    return decorator


@drop_in("tagger")
def masked_tagger(
    nlp: Language,
    name: str,
    model: Model,
    overwrite: bool,
    scorer: Scorer,
    neg_prefix: str,
    label_smoothing: float,
) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_tagger.MaskedTagger`."""
    from .heads.masked_tagger import MaskedTagger

    return MaskedTagger(
        nlp.vocab,
        model,
        name,
        overwrite=overwrite,
        scorer=scorer,
        neg_prefix=neg_prefix,
        label_smoothing=label_smoothing,
    )


@drop_in("textcat_multilabel")
def masked_textcat_multilabel(
    nlp: Language, name: str, model: Model, threshold: float, scorer: Scorer
) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_textcat_multilabel.MaskedMultiLabelTextCategorizer`."""
    from .heads.masked_textcat_multilabel import MaskedMultiLabelTextCategorizer

    return MaskedMultiLabelTextCategorizer(
        nlp.vocab, model, name, threshold=threshold, scorer=scorer
    )


@drop_in("senter")
def masked_senter(nlp: Language, name: str, model: Model, overwrite: bool, scorer: Scorer) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_senter.MaskedSentenceRecognizer`."""
    from .heads.masked_senter import MaskedSentenceRecognizer

    return MaskedSentenceRecognizer(nlp.vocab, model, name, overwrite=overwrite, scorer=scorer)


@drop_in("morphologizer")
def masked_morphologizer(
    nlp: Language,
    model: Model,
    name: str,
    overwrite: bool,
    extend: bool,
    label_smoothing: float,
    scorer: Scorer,
) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_morphologizer.MaskedMorphologizer`."""
    from .heads.masked_morphologizer import MaskedMorphologizer

    return MaskedMorphologizer(
        nlp.vocab,
        model,
        name,
        overwrite=overwrite,
        extend=extend,
        label_smoothing=label_smoothing,
        scorer=scorer,
    )


@drop_in("trainable_lemmatizer")
def masked_trainable_lemmatizer(
    nlp: Language,
    name: str,
    model: Model,
    backoff: str | None,
    min_tree_freq: int,
    overwrite: bool,
    top_k: int,
    scorer: Scorer,
) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_trainable_lemmatizer.MaskedEditTreeLemmatizer`."""
    from .heads.masked_trainable_lemmatizer import MaskedEditTreeLemmatizer

    return MaskedEditTreeLemmatizer(
        nlp.vocab,
        model,
        name,
        backoff=backoff,
        min_tree_freq=min_tree_freq,
        overwrite=overwrite,
        top_k=top_k,
        scorer=scorer,
    )


@drop_in("parser")
def masked_parser(
    nlp: Language,
    name: str,
    model: Model,
    moves: Any,
    update_with_oracle_cut_size: int,
    learn_tokens: bool,
    min_action_freq: int,
    scorer: Scorer,
) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_parser.MaskedDependencyParser`."""
    from .heads.masked_parser import MaskedDependencyParser

    return MaskedDependencyParser(
        nlp.vocab,
        model,
        name,
        moves,
        update_with_oracle_cut_size=update_with_oracle_cut_size,
        learn_tokens=learn_tokens,
        min_action_freq=min_action_freq,
        scorer=scorer,
    )


@drop_in("ner")
def masked_ner(
    nlp: Language,
    name: str,
    model: Model,
    moves: Any,
    update_with_oracle_cut_size: int,
    incorrect_spans_key: str | None,
    scorer: Scorer,
) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_ner.MaskedEntityRecognizer`."""
    from .heads.masked_ner import MaskedEntityRecognizer

    return MaskedEntityRecognizer(
        nlp.vocab,
        model,
        name,
        moves,
        update_with_oracle_cut_size=update_with_oracle_cut_size,
        incorrect_spans_key=incorrect_spans_key,
        scorer=scorer,
    )


@drop_in("textcat", scorer={"@scorers": "spacy_mtl.MaskedTextcatScorer.v1"})
def masked_textcat(nlp: Language, name: str, model: Model, threshold: float, scorer: Scorer) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_textcat.MaskedTextCategorizer`."""
    from .heads.masked_textcat import MaskedTextCategorizer

    return MaskedTextCategorizer(nlp.vocab, model, name, threshold=threshold, scorer=scorer)


@drop_in("spancat")
def masked_spancat(
    nlp: Language,
    name: str,
    suggester: Callable[..., Any],
    model: Model,
    spans_key: str,
    scorer: Scorer,
    threshold: float,
    max_positive: int | None,
) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_spancat.MaskedSpanCategorizer`."""
    from .heads.masked_spancat import MaskedSpanCategorizer

    return MaskedSpanCategorizer(
        nlp.vocab,
        model,
        suggester,
        name,
        spans_key=spans_key,
        negative_weight=None,
        allow_overlap=True,
        max_positive=max_positive,
        threshold=threshold,
        scorer=scorer,
        add_negative_label=False,
    )


@drop_in("spancat_singlelabel")
def masked_spancat_singlelabel(
    nlp: Language,
    name: str,
    suggester: Callable[..., Any],
    model: Model,
    spans_key: str,
    negative_weight: float,
    allow_overlap: bool,
    scorer: Scorer,
) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_spancat.MaskedSpanCategorizer`: one label for each span, or none."""
    from .heads.masked_spancat import MaskedSpanCategorizer

    return MaskedSpanCategorizer(
        nlp.vocab,
        model,
        suggester,
        name,
        spans_key=spans_key,
        negative_weight=negative_weight,
        allow_overlap=allow_overlap,
        max_positive=1,
        threshold=None,
        scorer=scorer,
        add_negative_label=True,
    )


@drop_in("span_finder")
def masked_span_finder(
    nlp: Language,
    name: str,
    model: Model,
    spans_key: str,
    threshold: float,
    max_length: int | None,
    min_length: int | None,
    scorer: Scorer,
) -> Any:
    """See `spacy_mtl.pipeline.heads.masked_span_finder.MaskedSpanFinder`."""
    from .heads.masked_span_finder import MaskedSpanFinder

    return MaskedSpanFinder(
        nlp,
        model,
        name,
        spans_key=spans_key,
        threshold=threshold,
        max_length=max_length,
        min_length=min_length,
        scorer=scorer,
    )


@Language.factory(
    "biluo_ner",
    assigns=["doc.ents", "token.ent_iob", "token.ent_type"],
    default_config={
        "model": {
            "@architectures": "spacy_mtl.BiluoTagger.v1",
            "nO": None,
            "tok2vec": {"@architectures": "spacy_mtl.SharedTransformerListener.v1"},
        },
        "incorrect_spans_key": None,
        "confidence": False,
        "scorer": {"@scorers": "spacy.ner_scorer.v1"},
    },
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)
def biluo_ner(
    nlp: Language,
    name: str,
    model: Any,
    incorrect_spans_key: str | None,
    confidence: bool,
    scorer: Scorer,
) -> Any:
    """See `spacy_mtl.pipeline.heads.biluo_ner.BiluoEntityRecognizer`."""
    from .heads.biluo_ner import make_biluo_ner

    return make_biluo_ner(nlp, name, model, incorrect_spans_key, confidence, scorer)
