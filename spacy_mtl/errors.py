"""What we tell the user: the value in backticks, where it stands, what to do."""

from collections.abc import Iterable


class ConfigError(ValueError):
    """A setting cannot work. Names the value, its place in the config and the fix."""


class CheckpointError(ValueError):
    """A saved model is damaged or not ours. Names the file."""


class ListenerError(ValueError):
    """A listener was not served. Says why in plain words, and what to change."""


class GradientError(ValueError):
    """A head's gradient is not a number. Names the head, and what to change."""


def listed(names: Iterable[object]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def not_one_of(value: object, *, key: str, choices: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`{key} = {value!r}` is not supported. Set `{key}` to one of {listed(choices)}."
    )


def bad_setting(value: object, *, key: str, need: str) -> ConfigError:
    return ConfigError(f"`{key} = {value!r}` cannot be used: it must be {need}.")


def cannot_load(
    name: str, *, key: str, reason: object, overrides: Iterable[str] = ()
) -> ConfigError:
    replaced = listed(overrides)
    fix = f" If it loads without {replaced}, correct `model.transformer_config`."
    hint = fix if replaced else ""
    return ConfigError(
        f"The encoder `{name}` cannot be loaded: {reason} "
        f"Set `{key}` to a folder with a Hugging Face model or to the name of one on a model hub that this "
        f"machine can reach.{hint}"
    )


def no_such_setting(key: str, value: object, *, model_type: str) -> ConfigError:
    return ConfigError(
        f"`model.transformer_config.{key} = {value!r}` would change nothing: the config of a `{model_type}` has no "
        "such setting. Take it out, or spell it as in the encoder's config.json."
    )


def not_our_optimizer(value: object, *, name: str) -> ConfigError:
    return ConfigError(
        f"`components.{name}.optimizer` is a `{type(value).__name__}`, which cannot step the encoder. Use "
        '`@optimizers = "spacy_mtl.AdamW.v1"`, or `null` to let `[training.optimizer]` step the encoder too.'
    )


def no_fast_tokenizer(name: str, *, key: str) -> ConfigError:
    return ConfigError(
        f"The encoder `{name}` has no fast tokenizer, which is needed to align wordpieces with tokens. "
        f"Set `{key}` to a model that ships a `tokenizer.json`, or convert its tokenizer with "
        "`transformers.AutoTokenizer.from_pretrained(name, use_fast=True).save_pretrained(folder)`."
    )


def not_loaded() -> ConfigError:
    return ConfigError(
        "The encoder has no weights yet. Call `nlp.initialize()` to load the pretrained ones "
        "that `[components.shared_transformer.model] name` points to, or load a saved pipeline with "
        "`spacy.load`."
    )


def no_upstream(upstream: str) -> ConfigError:
    wanted = 'a component with `factory = "shared_transformer"`'
    if upstream != "*":
        wanted = f"a shared_transformer component that is called `{upstream}`"
    return ConfigError(
        f'A listener with `upstream = "{upstream}"` has nobody to listen to. It needs {wanted} that stands before '
        "its own component in `[nlp] pipeline`. Add one, or set the listener's `upstream` to the name of the one "
        'that is there ("*" takes any).'
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


def not_a_balancer(value: object, *, name: str) -> ConfigError:
    return ConfigError(
        f"`components.{name}.balancer = {value!r}` is not a balancer. Name one in `[components.{name}.balancer]`, such "
        'as `@balancers = "spacy_mtl.NormEqual.v1"`, or set it to `null` for the plain sum of the gradients. A '
        "balancer of your own is a subclass of `spacy_mtl.balancing.Balancer`."
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
        f"`{task}` learns a mix of the layers of `{upstream}`, which does not take part in the training. Take "
        f"`{upstream}` "
        'out of `[training] frozen_components`, and set `freeze_layers = "all"` in its model instead.'
    )


def damaged_balancer(file: str) -> CheckpointError:
    return CheckpointError(
        f"`{file}` is damaged. Delete it to let the balancer start anew, or restore it."
    )


def no_score(task: str) -> ConfigError:
    return ConfigError(
        f"`{task}` has no score that tasks could be compared by. Give it a scorer in `components.{task}.scorer`, or "
        "take it out of `[nlp] pipeline`."
    )


def no_such_listener(task: str, *, name: str, tasks: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`[components.{name}.balancer]` has a weight for `{task}`, but the components that listen to `{name}` are "
        f"{listed(tasks) or 'none'}. Correct the name, or leave it out."
    )


def bad_balancer_weights(balancer: object, weights: object, *, tasks: Iterable[str]) -> ValueError:
    return ValueError(
        f"`{type(balancer).__name__}.weights` returned {weights!r} for the tasks {listed(tasks)}. It must return one "
        "finite number for each of them, in their order."
    )


def no_tensorboard() -> ConfigError:
    return ConfigError(
        "`spacy_mtl.TensorBoardLogger.v1` in `[training.logger]` needs the package `tensorboard`: "
        "`pip install tensorboard`."
    )


def needs_gradients(key: str, value: object) -> ConfigError:
    return ConfigError(
        f"`training.logger.{key} = {value!r}` needs what `gradients = false` switches off. Set `gradients = true`, or "
        f"leave `{key}` out."
    )


def gradient_not_finite(tasks: Iterable[str]) -> GradientError:
    return GradientError(
        f"The gradient that {listed(tasks)} sent to the encoder is not finite, so the training has diverged there. "
        'Lower the learning rates, clip with `grad_clip`, or use `precision = "bf16"` in place of `fp16`.'
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


def lower_budget(budget: int) -> str:
    return (
        f"The device ran out of memory, so the encoder reads at most {budget} wordpieces at once from here on. Set "
        f"`model.max_batch_wordpieces = {budget}` in the `shared_transformer` to begin with that."
    )


def not_encoded(task: str, *, upstream: str) -> ListenerError:
    return ListenerError(
        f"`{task}` was asked about a document that `{upstream}` has not encoded (its `doc.tensor` is empty). "
        f"If `{upstream}` is disabled or excluded, enable it; if it is in `[training] frozen_components`, add it to "
        "`[training] annotating_components` as well; if a `doc_cleaner` has freed the vectors, run the pipeline on the "
        "text again."
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


def late_gradient(task: str, *, upstream: str) -> ListenerError:
    return ListenerError(
        f"`{task}` trains on a batch whose backward pass through `{upstream}` has already run, so its gradient "
        "would be lost. Call `nlp.update` once per batch, and the backward pass of every head before the next one."
    )


def damaged(file: str, reason: str) -> CheckpointError:
    return CheckpointError(
        f"`{file}` {reason}. The saved model is damaged or was changed by hand: copy it again from "
        "where it was saved."
    )


def only_for_temperature(key: str, *, value: object, scheme: str) -> ConfigError:
    return ConfigError(
        f'`{key} = {value!r}` would change nothing with `sampling = "{scheme}"`. Set `sampling = "temperature"`, or '
        f"take `{key}` out."
    )


def other_sources(*, then: object, now: object) -> ConfigError:
    return ConfigError(
        f"The stream cannot be resumed: its sources had {then} examples and have {now} now. Resume with the same "
        "corpora and limits, or start anew."
    )


class CorpusError(ValueError):
    """A corpus cannot be read. Names the source, the file and the place in it."""


def no_such_source_setting(key: str, *, known: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`{key}` is not a setting of a source. Take it out, or use one of {listed(known)}."
    )


def no_source_for(heads: Iterable[str], *, key: str) -> ConfigError:
    return ConfigError(
        f"No source in `[{key}]` is annotated for {listed(heads)}. Add the component to the `tasks` of one, or "
        "take it out of `[nlp] pipeline`."
    )


def nothing_to_compare(heads: Iterable[str]) -> ConfigError:
    return ConfigError(
        "`transfer` compares tasks that share an encoder, and in `[nlp] pipeline` only "
        f"{listed(heads) or 'none'} listens to the shared_transformer and is trained. Add another head."
    )


def several_encoders(names: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`transfer` compares tasks that share one encoder, and `[nlp] pipeline` has several: {listed(names)}. Leave "
        "one, with its heads."
    )


def no_steps(steps: int) -> ConfigError:
    return ConfigError(
        f"`training.max_steps = {steps}` is no number of updates that runs could have in common. Set it, or use "
        "`--steps`."
    )


def no_sources() -> ConfigError:
    return ConfigError(
        "`spacy_mtl.MultiCorpus.v1` has no sources. Below `[corpora.train.sources]` add one block for each corpus, "
        'such as `[corpora.train.sources.news]` with `path = "news.spacy"` and `tasks = ["ner"]`.'
    )


def no_such_task(source: str, task: str, *, pipeline: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`{task}` in `sources.{source}.tasks` is not a component of the pipeline. Its components are "
        f"{listed(pipeline)}; correct the name, or add the component to `[nlp] pipeline`."
    )


def nothing_to_learn(source: str, task: str) -> ConfigError:
    return ConfigError(
        f"`{task}` in `sources.{source}.tasks` learns nothing from annotation by itself. Name the heads that the "
        "source is annotated for."
    )


def no_such_file(source: str, path: str) -> CorpusError:
    return CorpusError(
        f"`sources.{source}.path = {path!r}` does not exist. Set it to a `.spacy` or `.jsonl` file, or to a folder "
        "with such files."
    )


def no_files(source: str, path: str, *, kinds: Iterable[str]) -> CorpusError:
    return CorpusError(
        f"`sources.{source}.path = {path!r}` has no file of a type that can be read: {listed(kinds)}."
    )


def unreadable(source: str, place: str, *, reason: object) -> CorpusError:
    return CorpusError(
        f"Source `{source}` cannot be read at {place}: {reason} Correct or replace the file, or take it out."
    )


def empty_source(source: str, path: str) -> CorpusError:
    return CorpusError(
        f"Source `{source}` (`{path}`) holds no documents. Correct `sources.{source}.path`, or take the source out."
    )


def not_annotated(source: str, tasks: Iterable[str], *, n_docs: int) -> CorpusError:
    return CorpusError(
        f"None of the {n_docs} documents of source `{source}` is annotated for {listed(tasks)}. Correct "
        f"`sources.{source}.tasks`, or the corpus."
    )


def unknown_label(
    source: str, task: str, *, labels: Iterable[str], number: int, text: str
) -> CorpusError:
    start = text[:60].replace("\n", " ")
    return CorpusError(
        f"Document {number} of source `{source}` has labels that `{task}` does not know: {listed(labels)} (it starts "
        f"`{start}`). Correct them, add them to `[initialize.components.{task}.labels]`, or take `{task}` out of "
        f"`sources.{source}.tasks`."
    )


def sampling_needs_batcher(sampling: str) -> ConfigError:
    return ConfigError(
        f"{sampling} needs a batcher that mixes anew in every epoch; with spaCy's own each example would be seen once "
        'an epoch. Set `[training.batcher]` to `@batchers = "spacy_mtl.BatchByWordpieces.v1"`, or read with '
        "`stream = true` and `max_epochs = -1`."
    )


def stream_needs_epochs(max_epochs: object) -> ConfigError:
    return ConfigError(
        f"`stream = true` cannot be used with `training.max_epochs = {max_epochs!r}`, which reads the whole corpus "
        "into memory once. Set `max_epochs = -1`, or `stream = false`."
    )


def no_encoder_for_batches() -> ConfigError:
    return ConfigError(
        "`spacy_mtl.BatchByWordpieces.v1` counts wordpieces with the tokenizer of the pipeline's shared_transformer, "
        "and the pipeline has none that is loaded. Add one, or use `spacy.batch_by_words.v1`."
    )


def nothing_annotated(name: str, *, needs: str, takes_labels: bool) -> ConfigError:
    labels = f" give its labels in `[initialize.components.{name}.labels]`," if takes_labels else ""
    return ConfigError(
        f"`{name}` has nothing to learn from: none of the examples that it is initialized with has {needs}. Add "
        "examples that do to `[corpora.train]` (with `max_epochs = -1` among the first 100, which are all that spaCy "
        f"shows),{labels} or take `{name}` out of `[nlp] pipeline`."
    )


def bad_entity_label(label: object, *, name: str) -> ConfigError:
    return ConfigError(
        f"`{label!r}` cannot be a label of `{name}`: labels are texts, such as `PERSON`, that are not empty. Correct "
        f"it where it is added, or in `[initialize.components.{name}] labels`."
    )


def unknown_entity_label(label: str, *, name: str, known: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"The entity label `{label}` is in a training document but not among the labels of `{name}`: {listed(known)}. "
        f"Correct the document, or name the label in `[initialize.components.{name}] labels`."
    )


def gold_and_wrong(text: str, label: str, *, key: str, name: str) -> ConfigError:
    return ConfigError(
        f"`{text}` is a gold entity `{label}`, and in the span group `{key}`, which "
        f"`components.{name}.incorrect_spans_key` names for spans that are no entities. Take it out of one of the two."
    )


def not_a_biluo_model(name: str) -> ConfigError:
    return ConfigError(
        f"`components.{name}.model` cannot be used by `biluo_ner`, which decodes tags and not transitions. Replace the "
        f'block `[components.{name}.model]` by `@architectures = "spacy_mtl.BiluoTagger.v1"` and keep its `tok2vec`.'
    )


def no_shared_transformer(key: str) -> ConfigError:
    return ConfigError(
        f"`{key}` reports on what passes through a shared_transformer in training, and the pipeline has none that "
        "takes part. Add one, or use spaCy's own logger. If it is in `[training] frozen_components`, take it out, and "
        'set `freeze_layers = "all"` in its model instead.'
    )


def several_corpora() -> ConfigError:
    return ConfigError(
        "`spacy_mtl.BatchByWordpieces.v1` got examples of several readers, and can mix those of one only. Name all "
        "corpora as sources of one `spacy_mtl.MultiCorpus.v1`; any reader can be a source."
    )


def shares_annotation(source: str, head: str, *, tasks: Iterable[str]) -> ConfigError:
    return ConfigError(
        f"`{head}` would be trained on source `{source}`, which is annotated for {listed(tasks)}: both learn from the "
        f"same kind of annotation. Set `[components.{head}] factory` to the `masked_` one, which keeps to its own "
        f"sources, or add `{head}` to `sources.{source}.tasks`."
    )


class ReportError(ValueError):
    """A report cannot be made. Names the file and the place in it, and the fix."""


def no_matplotlib() -> ReportError:
    return ReportError(
        '`spacy mtl report` draws with Matplotlib, which is not installed: `pip install "spacy-mtl[report]"`.'
    )


def no_trained_pipeline(run: str) -> ReportError:
    return ReportError(
        f"`{run}` has neither `model-best` nor `model-last`. Name the output folder of a `spacy train`."
    )


def no_log(run: str, *, named: object) -> ReportError:
    there = f"`training.logger.output_file = {named!r}` does not exist" if named else "None is set"
    return ReportError(
        f"There is no log of the training in `{run}`. {there}. `output_file` of `spacy_mtl.TaskLogger.v1` in "
        "`[training.logger]` writes it; name it with `--log` if it was moved, or set it and train again."
    )


def empty_log(path: str) -> ReportError:
    return ReportError(
        f"`{path}` has no evaluation. Name the `output_file` of `spacy_mtl.TaskLogger.v1` with `--log`."
    )


def damaged_line(path: str, number: int, *, reason: object) -> ReportError:
    return ReportError(
        f"Line {number} of `{path}` is not what `spacy_mtl.TaskLogger.v1` writes: {reason} Take the line out, or name "
        "another file."
    )


def damaged_report_file(path: str, *, reason: object) -> ReportError:
    return ReportError(
        f"`{path}` is not what `spacy mtl transfer` writes: {reason} Name its `transfer.json` with `--transfer`."
    )


class MissingSparkError(ImportError):
    """What `spacy_mtl.spark` needs is not installed, or in a version that does not fit. Names the fix."""


class SparkError(ValueError):
    """A stage for Spark cannot do what it is asked. Names the param and the fix."""


def no_spark_package(package: str) -> MissingSparkError:
    return MissingSparkError(
        f"`spacy_mtl.spark` needs the package `{package}`, which is not installed: "
        '`pip install "spacy-mtl[spark]"`.'
    )


def wrong_pyspark(version: str, *, oldest: int, below: int) -> MissingSparkError:
    return MissingSparkError(
        f"`spacy_mtl.spark` works with pyspark {oldest}.0 and newer, below {below}.0, and `{version}` is installed. "
        'Install the version of your cluster, if it is one of these, or `pip install "spacy-mtl[spark]"`.'
    )


def no_java(command: str) -> SparkError:
    return SparkError(
        f"Spark runs on Java 17 or newer, and `{command}` does not run. Install it (`apt-get install "
        "openjdk-17-jre-headless`), or set `JAVA_HOME` to the folder that holds it."
    )


def old_java(command: str, version: int) -> SparkError:
    return SparkError(
        f"Spark runs on Java 17 or newer, and `{command}` is Java {version}. Install a newer one, and set `JAVA_HOME` "
        "to its folder."
    )


def no_spark_connect() -> SparkError:
    return SparkError(
        "`SpacyAnnotator` hands its pipeline to the executors through the `SparkContext`, which Spark Connect does not "
        "have. Use a classic session (`SparkSession.builder.master(...)` in place of `.remote(...)`)."
    )


def no_input_column(name: str, *, columns: Iterable[str]) -> SparkError:
    return SparkError(
        f"`inputCol = {name!r}` is not a column of the DataFrame, which has {listed(columns)}. Set `inputCol` to the "
        "one that holds the texts."
    )


def no_text_column(name: str, *, found: str) -> SparkError:
    return SparkError(
        f"`inputCol = {name!r}` is of type `{found}` and must be a string column. Cast it, or name another column."
    )


def columns_taken(names: Iterable[str]) -> SparkError:
    return SparkError(
        f"The DataFrame already has the columns {listed(names)}, which `SpacyAnnotator` would write. Drop or rename "
        "them, or set `outputCols` (or `errorCol`) to other names."
    )


def columns_clash(names: Iterable[str]) -> SparkError:
    return SparkError(
        f"`SpacyAnnotator` would write several columns called {listed(names)}. Set `outputCols` and `errorCol` to "
        "names that differ."
    )


def columns_do_not_match(n_columns: int, *, annotations: Iterable[str]) -> SparkError:
    return SparkError(
        f"`outputCols` has {n_columns} names, and there must be one for each of `annotations`, in their order: "
        f"{listed(annotations)}. Set both, or leave `outputCols` out."
    )


def no_param(name: str) -> SparkError:
    return SparkError(
        f"`SpacyAnnotator` needs `{name}`. Set it, as in `SpacyAnnotator({name}=...)`."
    )


def no_such_pipeline(model: str) -> SparkError:
    return SparkError(
        f"`model = {model!r}` is neither an installed package, nor the folder or the wheel of a spaCy pipeline on this "
        "machine. Install it, or name the folder that `nlp.to_disk` or `spacy train` wrote."
    )


def no_pipeline_in_wheel(model: str) -> SparkError:
    return SparkError(
        f"`model = {model!r}` is not the wheel of a spaCy pipeline. Name one that `python -m spacy package --build "
        "wheel` wrote."
    )


def nobody_writes(annotation: str, *, components: Iterable[str]) -> SparkError:
    return SparkError(
        f"`annotations` asks for `{annotation}`, which no component of the pipeline writes. Its components are "
        f"{listed(components) or 'none'}; take `{annotation}` out, or a component out of `disable`."
    )


def package_missing_on_executor(name: str) -> SparkError:
    return SparkError(
        f"`model = {name!r}` is an installed package on the driver and not on this executor. Install it there, or set "
        "`model` to its wheel or folder, which Spark then sends along."
    )


def pipeline_changed(model: str) -> SparkError:
    return SparkError(
        f"The files of `model = {model!r}` are not those that the driver has read: they were changed in between, or "
        "this executor has another version. Call `transform` again, or install the same version everywhere."
    )


def pipeline_not_here(folder: str) -> SparkError:
    return SparkError(
        f"The pipeline's folder `{folder}` does not exist on this executor. Put it back, or call `transform` again."
    )


def no_gpu_for_task() -> SparkError:
    return SparkError(
        "`gpu = True`, and Spark has given this task no GPU. Set `spark.executor.resource.gpu.amount`, "
        "`spark.task.resource.gpu.amount` and a discovery script, as in Spark's page on resource scheduling, or set "
        "`gpu = False`."
    )


def gpu_not_usable(address: str, *, reason: object) -> SparkError:
    return SparkError(
        f"Spark has given this task the GPU `{address}`, which cannot be used: {reason} Install the extra for your "
        "CUDA (`cuda12x`, `cuda13x`) and torch with CUDA on the executors, or set `gpu = False`."
    )


def bad_text(error: str, *, text: str | None) -> SparkError:
    start = "" if not text else f" (it starts `{text[:60]}`)"
    return SparkError(
        f"A text cannot be annotated: {error}{start}. Set `badText` to `skip`, which keeps the row and says so in "
        "`errorCol`, or to `truncate`, or take such rows out."
    )


def not_one_annotator(path: str, *, found: int) -> SparkError:
    return SparkError(
        f"`{path}` holds {found} saved `SpacyAnnotator` stages, and it must be one. Name the folder of the stage, "
        "below `stages`."
    )


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
        "gone. The training ends. `--resume` goes on from the last checkpoint."
    )


def rank_failed(rank: int, *, host: str, pid: int, reason: object) -> str:
    return (
        f"Rank {rank} (process {pid} on `{host}`) has failed: {reason} The training ends. `--resume` goes on from the "
        "last checkpoint."
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
