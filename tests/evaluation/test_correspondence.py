"""Cells of two pictures of one thing, and whether they find each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from accord.data.corpus import open_corpus
from accord.data.inputs import ImageInput
from accord.data.recipe import Prepared
from accord.data.splits import Splits
from accord.encoders import build_encoder
from accord.errors import ConfigError, DataError
from accord.evaluation.correspondence import (
    evaluate_correspondence,
    found_places,
    paired_rows,
    shown_cells,
    untrained,
)
from accord.evaluation.tasks import fitting_tasks
from accord.methods import DataInfo, get_method
from accord.pipeline.score import score
from accord.training.artifact import Model

COLOURS = ("red", "lime", "blue", "orange", "magenta", "cyan")
EVERYWHERE = torch.ones(1, 1, 4, dtype=torch.bool)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    """Six flags of four coloured quarters in two hands, one lighter and a little lower, then a lone picture."""
    folder = tmp_path_factory.mktemp("drawings")
    rows = []
    for number in range(6):
        quarters = [COLOURS[(number + step) % 6] for step in (0, 1, 2, 4)]
        for hand, low in (("a", 0), ("b", 2)):
            picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
            draw = ImageDraw.Draw(picture)
            for place, colour in enumerate(quarters):
                x, y = 16 * (place % 2) + 16, 16 * (place // 2) + 16 + low
                draw.rectangle((x, y, x + 15, y + 15), fill=colour)
            picture.save(folder / f"{number}{hand}.png")
            rows.append(f"{number}{hand}.png,flag {number}")
    Image.new("RGB", (64, 64)).save(folder / "lone.png")
    lines = ["file_name,group", "lone.png,lone", *rows]
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture
def corpus(drawings):
    return open_corpus(drawings, columns={"group": "group"}, quiet=True)


class Maps(torch.nn.Module):
    """Stands for a method whose image encoder gives a map."""

    def __init__(self):
        super().__init__()
        self.encoders = {"image": build_encoder("image", {"name": "tiny_resnet", "size": 64, "width": 16})}
        self.name = "pooled"


class ColourModel:
    """Its map is the mean colour of each cell."""

    method = Maps()

    def dense_corpus(self, corpus):
        opened = (corpus.sample(row)["image"] for row in range(len(corpus)))
        pictures = [np.asarray(picture.resize((8, 8), Image.Resampling.BOX)) for picture in opened]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


class PlaceModel(ColourModel):
    """Its map says where a cell lies and nothing else."""

    def dense_corpus(self, corpus):
        return torch.eye(64).reshape(1, 64, 8, 8).expand(len(corpus), -1, -1, -1)


def values(metrics):
    return {metric.name: metric for metric in metrics}


def test_pairs_are_groups_of_exactly_two(corpus):
    assert paired_rows(corpus).tolist() == [[1 + 2 * pair, 2 + 2 * pair] for pair in range(6)]
    shuffled = corpus.select([3, 0, 1, 4, 2, 5])
    assert paired_rows(shuffled).tolist() == [[2, 4], [0, 3]]  # the partner of row 5 is not there


def test_cells_of_the_transparent_background_are_not_shown(corpus):
    shown = shown_cells(corpus.select([0, 1]), ImageInput(size=64), 8, 8)
    assert shown[0].all()  # an opaque picture
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:6, 2:6] = True
    assert torch.equal(shown[1], expected)


def test_the_same_colours_are_found_at_their_place_also_when_mirrored(corpus):
    found = values(evaluate_correspondence(ColourModel(), corpus))
    for name in ("same place", "same place, mirrored"):
        assert found[name].low > found[name].chance
        assert found[name].value > 85
    assert found["distance"].value < found["distance"].chance / 2
    assert found["same place"].n == 2 * 6 * 16


def test_a_map_that_only_knows_places_is_misled_by_the_mirror(corpus):
    found = values(evaluate_correspondence(PlaceModel(), corpus))
    assert found["same place"].value > 99
    assert found["distance"].value == pytest.approx(0, abs=1e-6)
    assert found["same place, mirrored"].value == 50  # the two columns in the middle are neighbours


def test_chance_draws_any_cell_that_is_shown():
    maps = torch.eye(4).reshape(1, 4, 1, 4)
    shown = torch.tensor([[[True, False, False, False]]])
    rows = found_places(maps, maps, shown, EVERYWHERE)
    assert rows[:, 3].tolist() == [0.5]  # itself and its one neighbour of four
    assert found_places(maps, maps, EVERYWHERE, shown)[:, 1].tolist() == [1, 1, 0, 0]  # only the first can be found


def test_a_pair_without_anything_shown_is_left_out_and_none_at_all_is_refused():
    maps, nothing = torch.eye(4).reshape(1, 4, 1, 4), torch.zeros(1, 1, 4, dtype=torch.bool)
    both, shown = maps.expand(2, -1, -1, -1), torch.cat([nothing, EVERYWHERE])
    assert found_places(both, both, shown, shown)[:, 0].tolist() == [1] * 4
    with pytest.raises(DataError, match="no pair has cells that show anything"):
        found_places(maps, maps, EVERYWHERE, nothing)


def test_the_yardstick_is_the_same_whatever_was_trained(corpus):
    torch.manual_seed(0)
    encoder = ColourModel.method.encoders["image"]
    before = untrained(encoder, 0)(corpus)
    with torch.no_grad():
        next(encoder.parameters()).mul_(2)
    assert torch.equal(untrained(encoder, 0)(corpus), before)
    assert not torch.equal(untrained(encoder, 1)(corpus), before)


@pytest.mark.parametrize("name", ["pixpro", "swav"])
def test_an_untrained_method_is_its_own_yardstick(corpus, name):
    torch.manual_seed(0)
    towers = {"image": build_encoder("image", {"name": "tiny_resnet", "size": 64, "width": 16})}
    settings = {"dim": 8, "hidden": 16, **({"prototypes": 4} if name == "swav" else {})}
    model = Model(get_method(name)(settings, towers, DataInfo()))
    nothing = corpus.select([])
    prepared = Prepared(train=nothing, test=corpus, val=nothing, splits=Splits({}))
    assert "correspondence" not in fitting_tasks(model, prepared)  # layouts that agree are for people to say
    found = values(score(model, prepared, ["correspondence"]))
    for metric in ("same place", "same place, mirrored", "distance"):
        assert found[metric].value == found[f"{metric} (untrained)"].value


def test_what_cannot_be_measured_is_refused(corpus, drawings):
    with pytest.raises(DataError, match="groups of two"):
        evaluate_correspondence(ColourModel(), corpus.select([0, 1, 3]))
    with pytest.raises(DataError, match=r"data\.columns\.group"):
        evaluate_correspondence(ColourModel(), open_corpus(drawings, columns={"group": None}, quiet=True))
    pooled = ColourModel()
    pooled.method = Maps()
    pooled.method.encoders["image"].gives = frozenset({"pooled"})
    with pytest.raises(ConfigError, match="gives no map"):
        evaluate_correspondence(pooled, corpus)
