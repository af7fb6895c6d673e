"""The params of `SpacyAnnotator`, with the setters and getters that Spark ML's users expect."""

# ruff: noqa: N802, N815  (Spark's convention)

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasInputCol, HasOutputCols

from .. import errors
from .checks import check_params

if TYPE_CHECKING:
    from typing_extensions import Self


class AnnotatorParams(HasInputCol, HasOutputCols):
    """Documented in `SpacyAnnotator`. Setting raises ConfigError for a value that cannot work with any DataFrame."""

    model: "Param[str]" = Param(
        Params._dummy(), "model", "name, folder or wheel of a pipeline", TypeConverters.toString
    )
    annotations: "Param[list[str]]" = Param(
        Params._dummy(), "annotations", "kinds of annotation", TypeConverters.toListString
    )
    finish: "Param[bool]" = Param(
        Params._dummy(), "finish", "plain flat columns", TypeConverters.toBoolean
    )
    batchSize: "Param[int]" = Param(
        Params._dummy(), "batchSize", "texts in a batch", TypeConverters.toInt
    )
    disable: "Param[list[str]]" = Param(
        Params._dummy(), "disable", "components to leave out", TypeConverters.toListString
    )
    maxLength: "Param[int]" = Param(
        Params._dummy(), "maxLength", "characters of a text at most", TypeConverters.toInt
    )
    badText: "Param[str]" = Param(
        Params._dummy(), "badText", "error, skip or truncate", TypeConverters.toString
    )
    errorCol: "Param[str]" = Param(
        Params._dummy(), "errorCol", "what was wrong with a text", TypeConverters.toString
    )
    offsetUnit: "Param[str]" = Param(
        Params._dummy(), "offsetUnit", "codepoint or utf16", TypeConverters.toString
    )
    gpu: "Param[bool]" = Param(
        Params._dummy(), "gpu", "compute on the task's GPU", TypeConverters.toBoolean
    )

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(
            finish=False,
            batchSize=64,
            disable=[],
            badText="skip",
            errorCol="annotation_error",
            offsetUnit="codepoint",
            gpu=False,
        )

    def setParams(self, **params: Any) -> "Self":
        """Set params by name; None leaves one as it is."""
        self._set(**{name: value for name, value in params.items() if value is not None})
        return self

    def _set(self, **params: Any) -> "Self":
        # Where all ways to set params come together.
        check_params(params)
        super()._set(**params)
        return self

    def need(self, name: str) -> Any:
        """The value of a param. Raises SparkError if it is not set."""
        if not self.isDefined(name):
            raise errors.no_param(name)
        return self.getOrDefault(name)

    def values(self) -> dict[str, Any]:
        """All params that are set or have a default, by name."""
        return {param.name: value for param, value in self.extractParamMap().items()}

    def setInputCol(self, value: str) -> "Self":
        return self.setParams(inputCol=value)

    def setModel(self, value: str) -> "Self":
        return self.setParams(model=value)

    def setAnnotations(self, value: Sequence[str]) -> "Self":
        return self.setParams(annotations=value)

    def setOutputCols(self, value: Sequence[str]) -> "Self":
        return self.setParams(outputCols=value)

    def setFinish(self, value: bool) -> "Self":
        return self.setParams(finish=value)

    def setBatchSize(self, value: int) -> "Self":
        return self.setParams(batchSize=value)

    def setDisable(self, value: Sequence[str]) -> "Self":
        return self.setParams(disable=value)

    def setMaxLength(self, value: int) -> "Self":
        return self.setParams(maxLength=value)

    def setBadText(self, value: str) -> "Self":
        return self.setParams(badText=value)

    def setErrorCol(self, value: str) -> "Self":
        return self.setParams(errorCol=value)

    def setOffsetUnit(self, value: str) -> "Self":
        return self.setParams(offsetUnit=value)

    def setGpu(self, value: bool) -> "Self":
        return self.setParams(gpu=value)

    def getModel(self) -> str:
        return self.getOrDefault(self.model)

    def getAnnotations(self) -> list[str]:
        return self.getOrDefault(self.annotations)

    def getFinish(self) -> bool:
        return self.getOrDefault(self.finish)

    def getBatchSize(self) -> int:
        return self.getOrDefault(self.batchSize)

    def getDisable(self) -> list[str]:
        return self.getOrDefault(self.disable)

    def getMaxLength(self) -> int:
        return self.getOrDefault(self.maxLength)

    def getBadText(self) -> str:
        return self.getOrDefault(self.badText)

    def getErrorCol(self) -> str:
        return self.getOrDefault(self.errorCol)

    def getOffsetUnit(self) -> str:
        return self.getOrDefault(self.offsetUnit)

    def getGpu(self) -> bool:
        return self.getOrDefault(self.gpu)
