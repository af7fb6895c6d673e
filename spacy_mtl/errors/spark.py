"""Spark."""

from collections.abc import Iterable

from .base import listed


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


def input_column_twice(name: str, *, n_columns: int) -> SparkError:
    return SparkError(
        f"`inputCol = {name!r}` is the name of {n_columns} columns of the DataFrame. Rename or drop all but the one "
        "that holds the texts."
    )


def columns_clash(
    names: Iterable[str], *, key: str = "outputCols", error_key: str = "errorCol"
) -> SparkError:
    return SparkError(
        f"There would be several output columns called {listed(names)}. Set `{key}` and `{error_key}` to names that "
        "differ."
    )


def columns_do_not_match(
    n_columns: int, *, annotations: Iterable[str], key: str, kinds_key: str
) -> SparkError:
    return SparkError(
        f"`{key}` has {n_columns} names, and there must be one for each of `{kinds_key}`, in their order: "
        f"{listed(annotations)}. Set both, or leave `{key}` out."
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


def unknown_factory(factory: str, *, component: str, model: str) -> SparkError:
    return SparkError(
        f"`model = {model!r}` has the component `{component}` of the factory `{factory}`, which nobody has registered "
        "in this process; code in a pipeline's folder or wheel is not run. Install the package that registers it, here "
        "and on the executors, and set `model` to its name or import it first."
    )


def nobody_writes(annotation: str, *, key: str, components: Iterable[str]) -> SparkError:
    return SparkError(
        f"`{key}` asks for `{annotation}`, which no component of the pipeline writes. Its components are "
        f"{listed(components) or 'none'}; take `{annotation}` out, or a component out of `disable`."
    )


def freed(annotation: str, *, key: str, cleaner: str) -> SparkError:
    return SparkError(
        f"`{key}` asks for `{annotation}`, which the component `{cleaner}` of the pipeline frees. Add "
        f"`{cleaner}` to `disable`, or take `{annotation}` out."
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
