"""What the command line does, as functions that Python and the command line share; one verb each."""

from accord.pipeline.caption import Captioned, caption
from accord.pipeline.compare import Comparison, compare
from accord.pipeline.diagnose import diagnose
from accord.pipeline.explain import explain
from accord.pipeline.export import export
from accord.pipeline.model import Model, load
from accord.pipeline.run import Run, embed, evaluate, search, train
from accord.pipeline.zero_shot import zero_shot

__all__ = [
    "Captioned",
    "Comparison",
    "Model",
    "Run",
    "caption",
    "compare",
    "diagnose",
    "embed",
    "evaluate",
    "explain",
    "export",
    "load",
    "search",
    "train",
    "zero_shot",
]
