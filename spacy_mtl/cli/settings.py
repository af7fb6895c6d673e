"""What will go wrong in training, as far as the settings tell."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Any

from spacy.language import Language
from thinc.api import Config

from .. import errors
from ..annotation import heads_of
from ..corpora.findings import Finding
from ..worst_task import KEY

FAST = 5e-4  # rate at which pretrained weights are soon lost
SOON = 1000  # steps of a schedule that are looked at
LEAST = {
    "accumulate_gradient": 1,
    "eval_frequency": 1,
    "patience": 0,
    "max_steps": 0,
    "max_epochs": -1,
}
# scores that are there in every evaluation
COMMON = ("token_acc", "token_p", "token_r", "token_f", "speed")


def find_in_settings(nlp: Language, training: dict[str, Any], *, batches: int) -> list[Finding]:
    """What the settings tell of a pipeline whose encoders are loaded, and whose components are linked.

    training: what its `[training]` resolves to. batches: in an epoch.
    """
    return [
        *_numbers(training),
        *_evaluations(_last_step(training, batches), training["eval_frequency"]),
        *_names(nlp, training),
        *_encoders(nlp, training),
        *_rates(nlp, training),
        *_score_weights(nlp, training["score_weights"]),
    ]


def check_before_loading(nlp: Language, frozen: Iterable[str]) -> None:
    """Raises ConfigError, as the training would, for an encoder that nobody loads and listeners that name nobody."""
    from ..pipeline.shared_transformer import check_upstreams, shared_transformers

    for pipe in shared_transformers(nlp):
        if pipe.name in frozen and pipe.shim.encoder is None:
            raise errors.frozen_without_weights(pipe.name)
    check_upstreams(nlp, frozen=frozen)


def find_ignored(config: Config, filled: Config) -> list[Finding]:
    """Settings that spaCy takes out without a word. filled: what it has made of the config."""
    found = []
    for section in ("nlp", "training", "initialize"):
        known = filled.get(section, {})
        for name in config.get(section, {}).keys() - known.keys():
            alike = errors.listed(get_close_matches(name, known))
            fix = f"Did you mean {alike}?" if alike else "Take it out."
            if name == "balancer":
                fix = "It belongs into the component: `[components.shared_transformer.balancer]`."
            found.append(_warning(f"`{section}.{name}` is no setting, and does nothing. {fix}"))
    return found


def _numbers(training: dict[str, Any]) -> Iterator[Finding]:
    for name, least in LEAST.items():
        if training[name] < least:
            need = f"it must be at least {least}"
            yield _error(f"`training.{name} = {training[name]}` cannot be used: {need}.")
    if not 0.0 <= training["dropout"] < 1.0:
        need = "it must be at least 0 and below 1"
        yield _error(f"`training.dropout = {training['dropout']}` cannot be used: {need}.")


def _last_step(training: dict[str, Any], batches: int) -> int | None:
    """Its number, counted from 0; None: there is none."""
    ends = []  # spaCy makes one of the number `max_steps`
    if training["max_steps"] > 0:
        ends.append(training["max_steps"])
    if training["max_epochs"] > 0:
        ends.append(training["max_epochs"] * batches - 1)
    return min(ends, default=None)


def _evaluations(last_step: int | None, every: int) -> Iterator[Finding]:
    """Whether the last step that is evaluated, which `model-best` has at most, is far from the last one."""
    if every > 0 and last_step and (left := last_step % every):
        evaluated = f"last in step {last_step - left}"
        if last_step < every:
            evaluated = "so only in step 0, and `model-best` is a pipeline that has learnt nothing"
        yield _warning(
            f"The training ends with step {last_step}, counted from 0, and is evaluated in every {every}th, "
            f"{evaluated}. Set `[training] eval_frequency` to {last_step} or a divisor of it, or use `model-last`."
        )


def _names(nlp: Language, training: dict[str, Any]) -> Iterator[Finding]:
    for key in ("frozen_components", "annotating_components"):
        for name in training[key]:
            if name not in nlp.component_names:
                yield _error(
                    f"`{name}` in `training.{key}` is not a component of the pipeline. Its components are "
                    f"{errors.listed(nlp.component_names)}."
                )


def _encoders(nlp: Language, training: dict[str, Any]) -> Iterator[Finding]:
    from ..pipeline.shared_transformer import shared_transformers

    frozen, annotating = training["frozen_components"], training["annotating_components"]
    encoders = shared_transformers(nlp)
    if not encoders:
        return
    logger = str(nlp.config["training"]["logger"].get("@loggers", ""))
    if logger.startswith("spacy_mtl.TaskLogger.") and all(e.name in frozen for e in encoders):
        yield _error(str(errors.no_shared_transformer("training.logger")))
    for encoder in encoders:
        if not encoder.listening_components:
            yield _warning(errors.serves_nobody(encoder.name))
        trained = [name for name in encoder.listening_components if name not in frozen]
        if encoder.name in frozen and encoder.name not in annotating and trained:
            yield _error(
                f"{errors.listed(trained)} will be trained on documents that `{encoder.name}`, which is in `[training] "
                f"frozen_components`, does not encode. Add `{encoder.name}` to `[training] annotating_components`."
            )
    for name, head in heads_of(nlp).items():
        if name not in frozen and _is_apart(head):
            yield _warning(
                f"`{name}` does not listen to a shared_transformer: it trains and runs by itself, and shares nothing. "
                'For a model with `tok2vec`, `@architectures = "spacy_mtl.SharedTransformerListener.v1"` there makes '
                "it listen."
            )


def _is_apart(head: Any) -> bool:
    """Whether it has a model that listens to no other component."""
    from thinc.api import Model

    from ..pipeline.neighbours import is_listener

    model = getattr(head, "model", None)
    return isinstance(model, Model) and not any(map(is_listener, model.walk()))


def _rates(nlp: Language, training: dict[str, Any]) -> Iterator[Finding]:
    from ..pipeline.shared_transformer import shared_transformers

    for encoder in shared_transformers(nlp):
        if encoder.name in training["frozen_components"] or encoder.shim.is_frozen:
            continue
        key = f"components.{encoder.name}.optimizer"
        if encoder.optimizer is None:
            rate = _highest_rate(training["optimizer"])
            if rate > FAST:
                yield _warning(
                    f"`[training.optimizer]` steps the encoder of `{encoder.name}` too, at up to {rate:g}, which soon "
                    f"undoes what it was pretrained to. Give it an optimizer of its own: `[{key}]`, with "
                    '`@optimizers = "spacy_mtl.AdamW.v1"` and `learn_rate = 0.0002`.'
                )
            continue
        rate = encoder.optimizer.highest_rate(SOON)
        if rate > FAST:
            yield _warning(
                f"`[{key}]` steps the encoder at up to {rate:g}, which soon undoes what it was pretrained to. A common "
                "`learn_rate` is 0.0002 or less."
            )
        elif not rate:
            yield _warning(
                f"`[{key}]` steps the encoder at a rate of 0: it learns nothing. Set a `learn_rate`; if that is meant, "
                f'`freeze_layers = "all"` in `[components.{encoder.name}.model]` does the same and is faster.'
            )


def _highest_rate(optimizer: Any) -> float:
    rates = islice(getattr(optimizer, "schedules", {}).get("learn_rate", ()), SOON)
    return max([float(getattr(optimizer, "learn_rate", 0.0)), *map(float, rates)])


def _score_weights(nlp: Language, weights: dict[str, float | None]) -> Iterator[Finding]:
    counted = [name for name, weight in weights.items() if weight]
    if KEY in counted and len(counted) > 1:
        yield _warning(errors.worst_task_beside(name for name in counted if name != KEY))
    known = _known_scores(nlp)
    for name in counted:
        if name.split("@")[0].split("/")[0] not in known:
            alike = get_close_matches(name, sorted(known))
            yield _warning(
                f"`{name}` in `[training.score_weights]` is no score of a component of this pipeline, as far as they "
                f"tell, and would count as 0.{f' Alike are {errors.listed(alike)}.' if alike else ''}"
            )
    if not counted:
        yield _warning(
            "No score has a weight in `[training.score_weights]`, so `model-best` is the first checkpoint."
        )


def _known_scores(nlp: Language) -> set[str]:
    known = {KEY, *COMMON}
    for name, pipe in nlp.pipeline:
        try:
            own = pipe.score([]) if hasattr(pipe, "score") else {}  # names depend on settings
        except Exception:  # of somebody else's, or of a component that is not loaded
            own = {}
        known |= set(own or nlp.get_pipe_meta(name).default_score_weights)
    return known


def _error(text: str) -> Finding:
    return Finding("error", text)


def _warning(text: str) -> Finding:
    return Finding("warning", text)
