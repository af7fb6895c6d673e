"""The shared transformer and its listeners."""

from collections.abc import Iterable

from .base import FREEZE_INSTEAD, ConfigError, listed


class ListenerError(ValueError):
    """A listener was not served. Says why in plain words, and what to change."""


class GradientError(ValueError):
    """A head's gradient is not a number. Names the head, and what to change."""


def not_our_model(value: object, *, name: str) -> ConfigError:
    what = getattr(value, "name", type(value).__name__)
    return ConfigError(
        f"`components.{name}.model` is a `{what}`, which is no encoder that can be shared. Use "
        '`@architectures = "spacy_mtl.TransformerEncoder.v1"` with the `name` of a Hugging Face encoder.'
    )


def not_our_optimizer(value: object, *, name: str) -> ConfigError:
    return ConfigError(
        f"`components.{name}.optimizer` is a `{type(value).__name__}`, which cannot step the encoder. Use "
        '`@optimizers = "spacy_mtl.AdamW.v1"`, or `null` to let `[training.optimizer]` step the encoder too.'
    )


def no_encoder_named() -> ConfigError:
    return ConfigError(
        "`[components.shared_transformer.model] name` names no encoder. Set it to a folder with a Hugging Face model, "
        'to the name of one on a model hub such as "sentence-transformers/all-MiniLM-L6-v2", or to '
        "`package:NAME/FOLDER` for one in an installed package."
    )


def not_loaded() -> ConfigError:
    return ConfigError(
        "The encoder has no weights yet. Call `nlp.initialize()` to load the pretrained ones "
        "that `[components.shared_transformer.model] name` points to, or load a saved pipeline with "
        "`spacy.load`."
    )


def no_upstream(
    upstream: str, *, task: str | None = None, encoders: Iterable[str] = ()
) -> ConfigError:
    """encoders: names of the shared_transformers that are in the pipeline, wherever they stand."""
    where = "A listener's" if task is None else f"`components.{task}`: its listener's"
    wanted = 'a component with `factory = "shared_transformer"`'
    if upstream != "*":
        wanted = f"a shared_transformer component that is called `{upstream}`"
    there, place = list(encoders), "the component" if task is None else f"`{task}`"
    fix = f'Add one, and `upstream = "*"`, the default, takes any that stands before {place}.'
    if there:
        fix = (
            f"The pipeline has {listed(there)}: let it stand before {place}, and set the listener's `upstream` to its "
            'name or to "*", which takes any.'
        )
    return ConfigError(
        f'{where} `upstream = "{upstream}"` has nobody to listen to. It needs {wanted} that stands before {place} in '
        f"`[nlp] pipeline`. {fix}"
    )


def frozen_without_weights(upstream: str) -> ConfigError:
    return ConfigError(
        f"`{upstream}` has no weights when the heads that listen to it are initialized. If it is in `[training] "
        "frozen_components`, spaCy does not initialize it: take it from a trained pipeline with `source`, or take it "
        f'out of that list and set `freeze_layers = "all"` in `[components.{upstream}.model]` to train the heads only.'
    )


def wrong_width(task: str, *, width: int, expected: int, upstream: str) -> ConfigError:
    return ConfigError(
        f"`[components.{task}.model.tok2vec] width = {width}` does not fit: `{upstream}` serves vectors of width "
        f"{expected}. Set `width = {expected}`, or use "
        '`@architectures = "spacy_mtl.SharedTransformerListener.v1"`, which finds its width by itself.'
    )


def mix_cannot_be_replaced() -> ConfigError:
    return ConfigError(
        'A listener with `layers = "mix"` cannot be replaced by an encoder of its own, which would give the last layer '
        "only. "
        'Keep the shared_transformer in the pipeline, or train the head with `layers = "last"`.'
    )


def one_mix(task: str) -> ConfigError:
    return ConfigError(
        f'`{task}` has several listeners, and one with `layers = "mix"` has to be a head\'s only one. Set '
        '`layers = "last"`.'
    )


def no_mix_for_linker(task: str) -> ConfigError:
    return ConfigError(
        f"`components.{task}.model.tok2vec.layers = 'mix'`: an entity linker reads parts of documents, which have no "
        'mix. Set it to "last".'
    )


def trained_on_other_depth(
    task: str, *, n_layers: int, expected: int, upstream: str
) -> ConfigError:
    return ConfigError(
        f"`{task}` mixes {n_layers} layers, but `{upstream}` has {expected}, embeddings included. Train `{task}` again "
        f"on `{upstream}`, or set its listener's `upstream` to the component that it was trained on."
    )


def mix_is_not_trained(task: str, *, upstream: str) -> ConfigError:
    return ConfigError(
        f"`{task}` learns a mix of the layers of `{upstream}`, which does not take part in this training. If "
        f"`{upstream}` is in `[training] frozen_components`, take it out, and {FREEZE_INSTEAD}; `nlp.rehearse` trains "
        "heads without their encoder, so leave out those that mix layers."
    )


def serves_nobody(name: str) -> str:
    """A warning."""
    return (
        f"No head listens to `{name}`, so it costs time and does nothing. Set the `upstream` of the heads that are to "
        f'listen to `{name}` ("*" takes the nearest shared_transformer before the head), or take it out.'
    )


def no_such_listener(task: str, *, name: str, tasks: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`[components.{name}.balancer]` has a weight for `{task}`, but the components that listen to `{name}` are "
        f"{listed(tasks) or 'none'}. Correct the name, or leave it out."
    )


def trained_on_other_width(task: str, *, width: int, expected: int, upstream: str) -> ConfigError:
    return ConfigError(
        f"`{task}` listens to vectors of width {width}, but `{upstream}` serves vectors of width {expected}. Train "
        f"`{task}` again on `{upstream}`, or set its listener's `upstream` to the component that it was trained on."
    )


def vectors_replaced(task: str, *, upstream: str, nearest: str) -> ConfigError:
    return ConfigError(
        f"`{task}` listens to `{upstream}`, but `{nearest}` stands between them and puts its own vectors into "
        f"`doc.tensor`. Move `{task}` in `[nlp] pipeline` to a place between `{upstream}` and `{nearest}`."
    )


def taken_over(name: str) -> str:
    """A warning."""
    return (
        f"`{name}` is taken from a pipeline that has trained it, and belongs to both now: its optimizer, schedules and "
        "balancer begin anew, for that pipeline too. To let that one train on, save it and take the component from "
        "what `spacy.load` gives."
    )


def lower_budget(budget: int) -> str:
    return (
        f"The device ran out of memory, so the encoder reads at most {budget} wordpieces at once from here on. Set "
        f"`model.max_batch_wordpieces = {budget}` in the `shared_transformer` to begin with that."
    )


def schedule_has_ended(step: int) -> str:
    return (
        "The encoder does not learn: its own optimizer goes on where its training was saved, and the rate of its "
        f"`learn_rate` schedule at step {step} is 0. For a new training from these weights call `start_anew()` of the "
        "component's `optimizer`, or take the component from the saved pipeline with `source = ` in another config, "
        "which does that; to go on, load it with a longer schedule: "
        '`spacy.load(path, config={"components.shared_transformer.optimizer.learn_rate.total_steps": ...})`.'
    )


def moments_begin_anew(name: str, shape: tuple[int, ...]) -> str:
    return (
        f"The encoder's `{name}` has another shape, {shape}, than when the optimizer stepped it last, so its moments "
        "begin anew. Change an encoder before its training to have the same for all of its weights."
    )


def checkpointed() -> str:
    return (
        "The device ran out of memory in training, so the backward pass computes the encoder's activations again from "
        "here on, which takes longer. Set `model.gradient_checkpointing = true` in the `shared_transformer` to begin "
        "with that, or a smaller `size` in `[training.batcher]` to do without."
    )


def not_int8(reason: str) -> str:
    return (
        f'`model.precision = "int8"` does nothing here: {reason}. Predictions are in fp32, or in bf16 where the '
        'processor is faster in it. Set `model.precision = "auto"` to be told no more.'
    )


def not_encoded(
    task: str, *, upstream: str, mixes: bool = False, other: str | None = None
) -> ListenerError:
    """other: the encoder whose vectors it has."""
    empty = "its `doc.tensor` is empty"
    if mixes:
        empty = f"`doc._.task_vectors` has nothing for `{task}`"
    if other is not None:
        empty = f"its `doc.tensor` holds the vectors of `{other}`"
    return ListenerError(
        f"`{task}` was asked about a document that `{upstream}` has not encoded for it ({empty}). "
        f"If `{upstream}` is disabled or excluded, enable it; if it is in `[training] frozen_components`, add it to "
        "`[training] annotating_components` as well; if a `vector_cleaner` or `doc_cleaner` has freed the vectors, or "
        "for `nlp.rehearse`, run the pipeline on the text first."
    )


def not_in_batch(task: str, *, upstream: str) -> ListenerError:
    return ListenerError(
        f"`{task}` is training on a document that is not in the batch that `{upstream}` has just encoded. Both must "
        "see the same `Doc` objects in one `nlp.update` call: a component between them may have replaced the documents "
        f"(move it behind `{task}`), or `{upstream}` was left out of this update (then add it to "
        "`[training] annotating_components`)."
    )


def retokenized(task: str, *, n_tokens: int, n_vectors: int, upstream: str) -> ListenerError:
    return ListenerError(
        f"`{task}` received a document of {n_tokens} tokens that had {n_vectors} tokens when `{upstream}` encoded it. "
        f"A component between them changes the tokenization: move it before `{upstream}` or behind `{task}`."
    )


def not_linked(task: str | None, *, upstream: str, named: str) -> ListenerError:
    head = "A head" if task is None else f"`{task}`"
    fix = "" if named in ("*", upstream) else f"Correct its `upstream = {named!r}`, or call"
    return ListenerError(
        f"{head} trains on a batch of `{upstream}`, which does not serve it, so its gradient would be lost: the head "
        "was not there, or was in another pipeline, when the components were linked. The batch was dropped. "
        f"{fix or 'Call'} `nlp.get_pipe({upstream!r}).find_listeners(nlp.get_pipe({task or 'HEAD'!r}))` before "
        "`nlp.update`."
    )


def late_gradient(task: str, *, upstream: str) -> ListenerError:
    return ListenerError(
        f"`{task}` trains on a batch whose backward pass through `{upstream}` has already run, so its gradient "
        "would be lost. Call `nlp.update` once per batch, and the backward pass of every head before the next one."
    )
