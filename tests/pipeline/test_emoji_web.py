"""The shipped comparison is fair: its arms see their pictures in equally many stored variants."""

from __future__ import annotations

from accord.encoders import build_encoder
from accord.methods import DataInfo, get_method
from accord.pipeline.config import RunConfig, merged, read_config

DATA = DataInfo(rows=8, classes=("heart", "mail"), definitions=("heart", "mail"), label_counts=(4, 4))


def stored_copies_of_a_view(run: RunConfig) -> int:
    settings = dict(run.method)
    kind = get_method(settings.pop("name"))
    encoders = {
        "image": build_encoder("image", "tiny_vit", weights=False),
        "text": build_encoder("text", "tiny_text", weights=False, texts=["a heart", "a letter"]),
    }
    views = kind(settings, {name: encoders[name] for name in kind.needs}, DATA).views
    return run.training.cached_augmentations // len(views)


def test_arms_with_one_view_and_with_two_have_equally_many_stored_copies_of_each():
    study = read_config("emoji-web")
    runs = [RunConfig.parse(merged(study["run"], arm["changes"])) for arm in study["arms"].values()]
    assert {stored_copies_of_a_view(run) for run in runs} == {4}
