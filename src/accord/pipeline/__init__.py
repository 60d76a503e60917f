"""What the command line does, as functions: train, load, evaluate, embed, search, diagnose, compare."""

from accord.pipeline.compare import Comparison, compare
from accord.pipeline.diagnose import diagnose
from accord.pipeline.run import Run, embed, evaluate, load, search, train

__all__ = ["Comparison", "Run", "compare", "diagnose", "embed", "evaluate", "load", "search", "train"]
