"""What every method says of itself: what it reads raw, beside an encoder or without one."""

import pytest
import torch
from PIL import Image

from accord.config import Config
from accord.data.corpus import corpus_from_items
from accord.data.inputs import ImageInput, VideoInput
from accord.data.loading.loader import train_loader
from accord.encoders import build_encoder
from accord.errors import ConfigError
from accord.methods import DataInfo
from accord.methods.base import Method
from accord.pipeline.choose import lacking, require_fit

PIXELS = ImageInput(size=8)


class NoSettings(Config):
    """Nothing to set."""


def taking(raw, **members):
    """A method on pictures that takes fields raw."""
    named = {"name": "raw", "Config": NoSettings, "needs": {"image": frozenset({"pooled"})}, **members}
    kind = type("Raw", (Method,), {**named, "raw": classmethod(lambda cls, config: raw)})
    return kind


def built(kind):
    return kind({}, {name: build_encoder(name, "tiny_vit") for name in kind.needs}, DataInfo())


def test_what_has_an_encoder_stands_beside_it_and_what_has_none_in_its_place():
    method = built(taking({"image": None, "reference": PIXELS, "video": VideoInput(frames=2)}))
    seen = method.encoders["image"].input
    assert method.inputs == {"image": seen, "reference": PIXELS, "video": VideoInput(frames=2)}
    assert method.raw_inputs == {"image": seen}
    assert method.reads({}) == ("image", "reference", "video")
    assert method.subjects == ("image", "reference", "video")


def test_a_method_without_any_encoder_reads_what_it_takes_raw():
    method = built(taking({"image": PIXELS}, needs={}))
    assert len(method.encoders) == 0
    assert method.inputs == {"image": PIXELS}
    assert method.raw_inputs == {}


@pytest.mark.parametrize(
    ("raw", "members", "sentence"),
    [
        ({"smell": None}, {}, "method raw takes smell raw: no field 'smell'; there are: image, text, .*, reference"),
        ({"label": None}, {}, "method raw takes label raw: no field 'label'; there are"),
        ({"graph": None}, {}, "method raw takes graph raw, which is not read row by row: leave it out"),
        ({"reference": None}, {}, "takes reference raw and has no encoder for it: say in `raw` how it is prepared"),
        (
            {"reference": PIXELS},
            {"reads": classmethod(lambda cls, config: ("image",))},
            "takes reference raw and does not read it: add it to `reads`",
        ),
    ],
)
def test_what_no_batch_could_hold_raw_is_refused_when_the_method_is_built(raw, members, sentence):
    with pytest.raises(ConfigError, match=sentence):
        built(taking(raw, **members))


def test_rows_without_a_field_that_is_taken_raw_are_refused_before_training():
    kind, corpus = taking({"reference": PIXELS}), corpus_from_items("image", ["a.png", "b.png"])
    assert lacking(kind, NoSettings(), corpus) == ["reference"]
    with pytest.raises(ConfigError, match="method raw needs reference, and items has image"):
        require_fit(kind, NoSettings(), corpus)


def test_a_step_of_a_batch_is_on_pixels_where_there_is_no_encoder():
    class Mean(Method):
        name, Config, needs = "mean", NoSettings, {}

        @classmethod
        def raw(cls, config):
            return {"image": PIXELS}

    method = Mean({}, {}, DataInfo())
    corpus = corpus_from_items("image", [Image.new("RGB", (9, 9), (10 * n, 0, 0)) for n in range(4)])
    batch = next(iter(train_loader(corpus, method.inputs, batch_size=4, seed=0, raw=method.raw_inputs)))
    assert batch["image"].shape == (4, 3, 8, 8)
    assert "image_raw" not in batch
    assert isinstance(batch["image"], torch.Tensor)
