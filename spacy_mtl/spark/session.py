"""What must be there before Spark can run, said in one sentence each; and a session for this machine."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import errors

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OLDEST_PYSPARK, BELOW_PYSPARK = 4, 5
OLDEST_JAVA = 17


def check_packages() -> None:
    """Raises MissingSparkError if a package of the extra `spark` is missing, or pyspark is too old or too new."""
    for package in ("pyspark", "pyarrow", "pandas"):
        if find_spec(package) is None:
            raise errors.no_spark_package(package)
    import pyspark

    major = int(pyspark.__version__.split(".")[0])
    if not OLDEST_PYSPARK <= major < BELOW_PYSPARK:
        raise errors.wrong_pyspark(pyspark.__version__, oldest=OLDEST_PYSPARK, below=BELOW_PYSPARK)


def check_java() -> None:
    """Raises SparkError if there is no Java that Spark runs on, in `JAVA_HOME` or on the path."""
    home = os.environ.get("JAVA_HOME")
    command = str(Path(home) / "bin" / "java") if home else "java"
    if shutil.which(command) is None:
        raise errors.no_java(command)
    result = subprocess.run([command, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)(?:\.(\d+))?', result.stderr + result.stdout)
    if result.returncode != 0 or found is None:
        raise errors.no_java(command)
    version = int(found[2] or 0) if found[1] == "1" else int(found[1])  # Java 8 calls itself 1.8
    if version < OLDEST_JAVA:
        raise errors.old_java(command, version)


def local_session(cores: int = 1, *, retries: int = 0, **settings: Any) -> "SparkSession":
    """A Spark session on this machine. On a cluster use the session that you have.

    Workers run the Python of this process. If this process has a session already, that one is returned.

    cores: tasks at a time, each in a Python process of its own with one thread. retries: of a task that fails.
    settings: more of Spark's, with `__` for a dot: `spark__driver__memory="4g"`.

    Raises MissingSparkError or SparkError if something is missing.
    """
    check_packages()
    check_java()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

    values = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.shuffle.partitions": str(cores),
        **{name.replace("__", "."): str(value) for name, value in settings.items()},
    }
    builder: Any = SparkSession.builder
    return builder.master(f"local[{cores},{retries + 1}]").config(map=values).getOrCreate()
