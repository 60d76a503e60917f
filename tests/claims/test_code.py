"""The code behind an arm, that which is found by name included."""

from __future__ import annotations

from pathlib import Path

from accord.claims.arms import Arms, Seed
from accord.claims.code import Code, modules_named
from accord.claims.load import loaded


def code_of(folder: Path, slug: str, arm: str, seed: int = 3) -> Code:
    with loaded(slug, folder) as claim:
        return Arms(claim, folder, quick=True).ready(arm, Seed(seed)).code


def test_methods_encoders_and_modalities_are_found_by_their_names() -> None:
    found = modules_named(["swav", "tiny_vit", "text", "no such thing", ""])
    assert {"accord.methods.image.swav", "accord.encoders.image", "accord.data.modalities.text"} <= found
    assert "accord.methods.image_text.coca" not in found


def test_what_is_built_by_name_is_behind_an_arm(folder) -> None:
    code = code_of(folder, "toy", "deep")
    for name in ("methods.image_text.clip", "encoders.image", "encoders.text", "data.modalities.text", "training.fit"):
        assert f"accord.{name}" in code.modules
    for name in ("encoders.audio", "data.modalities.audio", "evaluation.tasks.knn", "methods.image_text.coca"):
        assert f"accord.{name}" not in code.modules
    assert {"python", "torch", "numpy", "lightning", "timm"} <= code.versions.keys()


def test_the_code_of_an_arm_is_the_same_on_every_seed(folder) -> None:
    assert code_of(folder, "toy", "deep", seed=3) == code_of(folder, "toy", "deep", seed=4)


def test_without_a_measure_the_tasks_that_are_named_count(toy) -> None:
    folder = toy(("    measure=measure,\n", ""), ("run={\n", 'run={\n        "evaluate": ["retrieval"],\n'))
    modules = code_of(folder, "toy", "deep").modules
    assert "accord.evaluation.tasks.retrieval" in modules
    assert "accord.evaluation.tasks.knn" not in modules


FUNCTION = """
from accord.claims import Arm, Claim, Measured, Question
RUN = {"method": {"name": "swav"}, "encoders": {"image": {"name": "tiny_resnet"}}}
def find(seed):
    from accord.evaluation.linear_probe import fit_probe
    return Measured({"x": float(len(RUN))}, steps=1)
CLAIM = Claim("function", "p", {"f": Arm(function=find)}, [Question("q", "s", "f", -1.0, "x", every=True)])
"""


def test_what_a_function_names_is_behind_it(folder) -> None:
    (folder / "function.py").write_text(FUNCTION)
    modules = code_of(folder, "function", "f").modules
    for name in ("methods.image.swav", "encoders.image", "evaluation.linear_probe", "pipeline.build"):
        assert f"accord.{name}" in modules
    for name in ("methods.image_text.clip", "claims.declare"):
        assert f"accord.{name}" not in modules
