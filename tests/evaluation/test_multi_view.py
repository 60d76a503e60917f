"""Clips are looked at several times, and the answers are summed."""

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from accord.data.augmenting.views import centre_box
from accord.data.draws import Draws
from accord.data.inputs import ImageInput, VideoInput
from accord.data.loading.loader import eval_loader
from accord.data.reading.frames import chosen_frames, sample_frames
from accord.errors import ConfigError
from accord.evaluation.multi_view import ViewOptions, multi_view_predict, multi_view_scores, seen, view_inputs
from accord.methods.abilities import Embeds
from accord.training.artifact import Model
from evaluation.answering import Answering, measured, model_of, prepared, rows_of, shown
from evaluation.watching import Averaging, Watching, films

CLASSES = ("darker", "brighter")


def test_views_are_summed_as_shares():
    logits = torch.randn(4, 3, 5)
    torch.testing.assert_close(multi_view_predict(logits), sum(view.softmax(dim=1) for view in logits))
    sure = torch.tensor([[[9.0, 0.0]], [[0.0, 2.0]], [[0.0, 2.0]]])
    assert multi_view_predict(sure).argmax() == 1  # two of three
    assert sure.sum(dim=0).argmax() == 0


@pytest.mark.parametrize("total", [9, 40, 41])
def test_moments_are_those_of_evenly_spread_clips(total):
    views = [chosen_frames(total, view, Draws()) for view in view_inputs(VideoInput(frames=5), 4, 1)]
    assert views == sample_frames(total, 5, "multiview", clips=4).tolist()
    dense = VideoInput(frames=3, sampling="dense", stride=2)
    starts = [chosen_frames(total, view, Draws())[0] for view in view_inputs(dense, 4, 1)]
    assert starts == sorted(set(starts))
    assert chosen_frames(total, next(view_inputs(dense, 1, 1)), Draws()) == chosen_frames(total, dense, Draws())


def test_places_are_squares_as_large_as_the_shorter_side_from_end_to_end():
    spec = VideoInput(ImageInput(crop=0.875))
    boxes = [centre_box(200, 100, view.image) for view in view_inputs(spec, 1, 3)]
    assert boxes == [(0, 0, 0.5, 1), (0.25, 0, 0.75, 1), (0.5, 0, 1, 1)]
    assert centre_box(100, 200, list(view_inputs(spec, 1, 3))[2].image) == (0, 0.5, 1, 1)
    assert [centre_box(200, 100, view.image) for view in view_inputs(spec, 1, 1)] == [centre_box(200, 100, spec.image)]


def test_every_view_is_read_from_its_frames_and_its_part_of_them(tmp_path):
    wide = []
    for frame in range(4):
        picture = Image.new("RGB", (64, 32), (40 * frame,) * 3)
        picture.paste((40 * frame + 20,) * 3, (32, 0, 64, 32))
        wide.append(picture)
    rows = films(tmp_path, [wide, wide], [0, 1])
    spec, looked = VideoInput(ImageInput(size=16, mean=(0, 0, 0), std=(1, 1, 1)), frames=2), []
    for view in view_inputs(spec, 2, 2):
        video = next(iter(eval_loader(rows, {"video": view})))["video"]
        looked.append([round(255 * float(level)) for level in video[0].mean(dim=(1, 2, 3))])
    assert looked == [[0, 80], [20, 100], [40, 120], [60, 140]]


def test_the_classifier_is_asked_for_every_view(tmp_path):
    rows = films(tmp_path, [(10, 20, 200, 240), (240, 30, 180, 10)], [1, 0])
    model = model_of(Averaging, None, classes=CLASSES)
    views = view_inputs(model.inputs["video"], 2, 1)
    batches = [next(iter(eval_loader(rows, {"video": view}))) for view in views]
    expected = multi_view_predict(torch.stack([model.method.classify(batch) for batch in batches]))
    torch.testing.assert_close(multi_view_scores(model, rows, clips=2), expected)


def test_evaluation_and_report_look_at_as_many_views_as_they_are_told(tmp_path):
    ways = [(10, 20, 200, 240), (240, 200, 20, 10)] * 3
    rows = prepared(films(tmp_path, ways, [1, 0] * 3))
    model = model_of(Watching, None, classes=CLASSES)
    found = measured("classification", model, rows, clips=2, crops=3)
    assert found["top-1"].value == 100
    confusion, _ = shown("classification", model, rows, clips=2, crops=3)
    assert confusion.counts == [[3, 0], [0, 3]]


def test_pictures_have_no_such_views(tmp_path):
    class Looking(Watching):
        needs = Answering.needs

    rows = rows_of(tmp_path, [{"label": "darker"}, {"label": "brighter"}])
    with pytest.raises(ConfigError, match=r"classification.clips = 4, crops = 1: these are views of clips, and method"):
        measured("classification", model_of(Looking, None, classes=("brighter", "darker")), prepared(rows), clips=4)


class Embedding(Averaging, Embeds):
    """How bright the first and the last frame are."""

    embeds = ("video",)

    def embed(self, batch):
        return {"video": F.normalize(torch.stack(self.levels(batch), dim=1), dim=1)}


def test_embeddings_are_averaged_over_views(tmp_path):
    rows = films(tmp_path, [(10, 20, 200, 240), (240, 30, 180, 10)], [1, 0])
    model = model_of(Embedding, None, classes=CLASSES)
    views = [next(iter(eval_loader(rows, {"video": view}))) for view in view_inputs(model.inputs["video"], 2, 3)]
    expected = F.normalize(sum(model.method.embed(view)["video"] for view in views), dim=1)
    found = seen(model, "knn", ViewOptions(clips=2, crops=3)).embed_corpus(rows, "video")
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, model.embed_corpus(rows, "video"))
    assert seen(model, "knn", ViewOptions()) is model


@pytest.mark.parametrize("task", ["linear_probe", "knn"])
def test_probes_look_at_as_many_views_as_they_are_told(tmp_path, task):
    ways = [(10, 20, 200, 240), (240, 200, 20, 10)] * 4
    train, test = (films(tmp_path / name, ways, [1, 0] * 4) for name in ("train", "test"))
    model, asked = model_of(Embedding, None, classes=CLASSES), []
    model.over_batches = lambda *args, **how: asked.append(how["inputs"]) or Model.over_batches(model, *args, **how)
    found = measured(task, model, prepared(test, train), clips=2, crops=2)
    assert len(asked) == 2 * 4  # of both sides
    assert next(iter(found.values())).value == 100
