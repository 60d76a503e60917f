from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accord.data.augmenting.pixels import Pixels
from accord.data.augmenting.views import View
from accord.data.corpus import Corpus, open_corpus
from accord.data.inputs import ImageInput, TextInput
from accord.data.loading.batches import to_device
from accord.data.loading.features import FeatureCache, Features
from accord.data.loading.loader import EpochLoader, eval_loader, hook_loader, train_loader
from accord.data.quarantine import RowError
from accord.errors import ConfigError, DataError
from data.samples import Letters, encoded

INPUTS = {"image": ImageInput(size=8), "text": TextInput(Letters())}
VIEWS = (View(size=8, jitter=(0.4, 0.4, 0.4, 0.1), lighting=0.1), View(size=4, blur=0.5, count=2))
Make = Callable[..., Corpus]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, Features):
        return torch.equal(a.pooled, b.pooled)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return len(a) == len(b) and all(map(same, a, b))


def loader(corpus: Corpus, **options: Any) -> EpochLoader:
    return train_loader(corpus, INPUTS, VIEWS, **{"batch_size": 6, "seed": 0, **options})


def test_a_batch_has_the_documented_keys_and_shapes(make_corpus: Make) -> None:
    batch = next(iter(loader(make_corpus())))
    assert [tuple(view.shape) for view in batch["image_views"]] == [(6, 3, 8, 8), (6, 3, 4, 4), (6, 3, 4, 4)]
    assert batch["image"] is batch["image_views"][0]
    assert batch["view_boxes"].shape == (6, 3, 4)
    assert batch["view_flips"].shape == (6, 3)
    assert batch["view_flips"].dtype == batch["text_mask"].dtype == torch.bool
    assert batch["text"].shape == batch["text_mask"].shape
    assert batch["index"].dtype == batch["label"].dtype == torch.int64
    assert torch.equal(batch["label"], batch["index"] % 2)


def test_one_view_is_the_image_and_no_view_is_the_evaluation_view(make_corpus: Make) -> None:
    corpus = make_corpus()
    one = next(iter(train_loader(corpus, INPUTS, VIEWS[:1], batch_size=4, seed=0)))
    assert "image_views" not in one
    assert one["view_boxes"].shape == (4, 1, 4)
    none = next(iter(train_loader(corpus, INPUTS, (), batch_size=4, seed=0)))
    assert "view_boxes" not in none
    plain = next(iter(eval_loader(corpus.select(none["index"].numpy()), INPUTS, batch_size=4)))
    assert torch.equal(none["image"], plain["image"])


def test_an_epoch_is_a_new_order_of_all_rows(make_corpus: Make) -> None:
    batches = loader(make_corpus(), batch_size=5)
    first = torch.cat([batch["index"] for batch in batches])
    second = torch.cat([batch["index"] for batch in batches])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(20))
    assert first.tolist() != second.tolist()
    batches.set_epoch(0)
    assert torch.equal(torch.cat([batch["index"] for batch in batches]), first)
    other = torch.cat([batch["index"] for batch in loader(make_corpus(), batch_size=5, seed=1)])
    assert other.tolist() != first.tolist()


def test_a_row_looks_different_in_each_epoch_and_the_same_in_whatever_company(make_corpus: Make) -> None:
    def views_of(row: int, epoch: int, size: int) -> torch.Tensor:
        batches = loader(make_corpus(), batch_size=size)
        batches.set_epoch(epoch)
        return next(b["image"][b["index"] == row] for b in batches if (b["index"] == row).any())

    assert torch.equal(views_of(3, 0, 5), views_of(3, 0, 20))
    assert not torch.equal(views_of(3, 0, 5), views_of(3, 1, 5))


def test_workers_change_nothing(make_corpus: Make) -> None:
    alone, together = loader(make_corpus()), loader(make_corpus(), workers=2)
    for _ in range(2):  # the workers stay for the second epoch
        assert same(list(alone), list(together))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_resumed_amid_an_epoch_goes_on_bit_for_bit(make_corpus: Make, workers: int) -> None:
    whole = [batch for _ in range(2) for batch in loader(make_corpus())]  # what an uninterrupted run sees...
    uninterrupted = loader(make_corpus())
    whole = [*uninterrupted, *uninterrupted]
    stopped = loader(make_corpus(), workers=workers)
    running = iter(stopped)
    seen = [next(running), next(running)]
    state = stopped.state_dict()
    assert state == {"epoch": 0, "batch": 2}  # two handed out, whatever the workers have ready
    resumed = loader(make_corpus(), workers=workers)
    resumed.load_state_dict(state)
    resumed.set_epoch(0)  # what a trainer says at the start keeps the place
    assert same([*seen, *resumed, *resumed], whole)


def test_the_state_after_the_last_batch_is_the_next_epoch(make_corpus: Make) -> None:
    batches = loader(make_corpus())
    running = iter(batches)
    for _ in range(len(batches)):
        next(running)
    assert batches.state_dict() == {"epoch": 1, "batch": 0}


def test_leaving_an_epoch_early_begins_it_anew_next_time(make_corpus: Make) -> None:
    batches = loader(make_corpus())
    first = next(iter(batches))
    assert same(next(iter(batches)), first)
    batches.set_epoch(2)
    assert not same(next(iter(batches)), first)


@pytest.mark.parametrize("drop_last", [True, False])
def test_two_ranks_together_see_what_one_process_sees(make_corpus: Make, drop_last: bool) -> None:
    corpus = make_corpus()
    whole = list(loader(corpus, drop_last=drop_last))
    ranks = [list(loader(corpus, drop_last=drop_last, rank=rank, world_size=2)) for rank in (0, 1)]
    assert len(whole) == len(ranks[0]) == len(ranks[1]) == (3 if drop_last else 4)
    for batch, first, second in zip(whole, *ranks, strict=True):
        for key in ("image", "label", "index", "view_boxes"):
            assert torch.equal(torch.cat([first[key], second[key]]), batch[key])


def test_a_last_batch_that_cannot_be_shared_evenly_is_filled_up(make_corpus: Make) -> None:
    corpus = make_corpus(7)
    ranks = [list(loader(corpus, batch_size=4, drop_last=False, rank=rank, world_size=2)) for rank in (0, 1)]
    assert [len(part[-1]["index"]) for part in ranks] == [2, 2]


def test_captions_are_drawn_anew_each_epoch_and_the_first_one_is_evaluated(make_corpus: Make) -> None:
    corpus = make_corpus(20)

    def captions(batches: EpochLoader) -> dict[int, str]:
        found = {}
        for batch in batches:
            for row, ids in zip(batch["index"].tolist(), batch["text"], strict=True):
                found[row] = "".join(map(chr, ids[ids > 0].tolist()))
        return found

    batches = loader(corpus, batch_size=5)
    first, second = captions(batches), captions(batches)
    assert all(text in corpus.texts()[row] for row, text in first.items())
    assert {text[-1] for text in first.values()} == {"0", "1", "2"}
    assert first != second
    assert captions(eval_loader(corpus, INPUTS)) == {row: texts[0] for row, texts in enumerate(corpus.texts())}


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_sees_every_row_once_in_order(make_corpus: Make, workers: int) -> None:
    corpus = make_corpus()
    batches = list(eval_loader(corpus, INPUTS, batch_size=8, workers=workers))
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(20))
    assert batches[0].keys() == {"image", "text", "text_mask", "label", "index"}
    assert eval_loader(corpus, INPUTS, modalities=("text",)).dataset.recipe.decoded == ("text",)
    assert list(eval_loader(corpus.select([]), INPUTS)) == []


def test_several_labels_come_as_floats(make_corpus: Make) -> None:
    corpus = make_corpus(4).with_labels(np.array([[1, 0], [1, 1], [0, 0], [0, 1]]))
    batch = next(iter(eval_loader(corpus, INPUTS)))
    assert batch["label"].tolist() == [[1, 0], [1, 1], [0, 0], [0, 1]]
    assert batch["label"].dtype == torch.float32


def test_what_cannot_be_loaded_is_said_at_once(make_corpus: Make) -> None:
    corpus = make_corpus()
    with pytest.raises(DataError, match="20 rows, fewer than batch_size = 64: lower it"):
        loader(corpus, batch_size=64)
    with pytest.raises(ConfigError, match="batch_size = 6: expected a positive multiple of world_size = 4"):
        loader(corpus, world_size=4)
    pictures = Corpus(corpus.name, corpus.rows, corpus.columns.model_copy(update={"text": ()}), corpus.ids)
    with pytest.raises(DataError, match=r"made has no text column \(it has image\): pass --text COL"):
        loader(pictures)
    with pytest.raises(DataError, match="no text column"):
        eval_loader(pictures, INPUTS, modalities=("text",))
    assert len(eval_loader(pictures, INPUTS)) == 1  # without a choice it takes what there is
    with pytest.raises(TypeError, match="state_dict"):
        pickle.dumps(loader(corpus))


# --- rows that go bad later


def on_disk(folder: Path, rows: int = 12) -> Corpus:
    for number in range(rows):
        (folder / f"{number}.png").write_bytes(encoded(number))
    lines = ["file_name,text", *(f"{number}.png,picture {number}" for number in range(rows))]
    (folder / "metadata.csv").write_text("\n".join(lines))
    return open_corpus(folder, quiet=True)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_deleted_later_is_replaced_by_the_same_other_row_and_reported(
    tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = on_disk(tmp_path)
    (tmp_path / "5.png").unlink()
    batches = loader(corpus, workers=workers)
    epoch = torch.cat([batch["index"] for batch in batches])
    assert len(epoch) == 12
    assert 5 not in epoch
    missing = [(bad.row, bad.file, bad.reason) for bad in batches.quarantine]
    assert missing == [(5, "5.png", "missing file")]
    assert "row 5 (5.png) cannot be read: missing file; another takes its place" in caplog.text
    assert torch.equal(torch.cat([batch["index"] for batch in loader(corpus)]), epoch)
    list(batches)
    assert len(batches.quarantine) == 1  # reported once, not once an epoch


@pytest.mark.parametrize("workers", [0, 1])
def test_evaluation_never_puts_a_row_in_the_place_of_another(tmp_path: Path, workers: int) -> None:
    corpus = on_disk(tmp_path)
    (tmp_path / "5.png").write_bytes(b"no picture any more")
    with pytest.raises(RowError, match=r"row 5 \(5\.png\): not a picture") as caught:
        list(eval_loader(corpus, INPUTS, workers=workers))
    assert caught.value.row == 5


def test_hooks_see_another_row_in_the_place_of_one_that_is_gone_and_it_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    corpus = on_disk(tmp_path)
    (tmp_path / "5.png").unlink()
    batches = hook_loader(corpus, INPUTS)
    batch = next(iter(batches))
    assert batch["index"].tolist() == list(range(12))
    assert "row 5 (5.png) cannot be read: missing file; another takes its place" in caplog.text
    assert [bad.row for bad in batches.quarantine] == [5]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_folder_that_is_gone_stops_with_row_and_file(tmp_path: Path, workers: int) -> None:
    corpus = on_disk(tmp_path)
    for file in tmp_path.glob("*.png"):
        file.unlink()
    with pytest.raises(DataError, match=r"row \d+ \(\d+.png\): missing file; none of 15 other rows"):
        next(iter(loader(corpus, workers=workers)))


def test_too_many_rows_gone_bad_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accord.data.loading.loader._ENFORCE_FROM", 6)
    corpus = on_disk(tmp_path)
    for number in range(7):
        (tmp_path / f"{number}.png").unlink()
    with pytest.raises(DataError, match=r"cannot be used, most often: missing file; the first is row \d"):
        list(loader(corpus))


def test_a_row_without_captions_is_replaced_in_training(make_corpus: Make) -> None:
    corpus = make_corpus(6).with_texts([[]] + [["text"]] * 5)
    index = torch.cat([batch["index"] for batch in loader(corpus)])
    assert 0 not in index


class Deadly(Corpus):
    """A corpus one row of which kills the process that reads it, as a broken decoder would."""

    def sample(self, position: int, *rest: Any) -> dict[str, Any]:
        if position == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(position, *rest)


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="the corpus reaches workers by fork only")
def test_a_worker_that_dies_is_reported_with_row_and_file(tmp_path: Path) -> None:
    opened = on_disk(tmp_path)
    corpus = Deadly(**{name: getattr(opened, name) for name in opened.__dataclass_fields__})
    with pytest.raises(DataError, match=r"a data worker died while reading row 7 \(7.png\): .*workers=0"):
        list(loader(corpus, workers=1))


def test_an_iteration_ends_when_another_one_takes_over_the_workers(make_corpus: Make) -> None:
    batches = loader(make_corpus(), workers=1)
    abandoned = iter(batches)
    next(abandoned)
    batches.set_epoch(1)
    expected = loader(make_corpus())
    expected.set_epoch(1)
    running = iter(batches)
    first = next(running)
    with pytest.raises(RuntimeError, match="another one over the same loader"):
        next(abandoned)
    assert same([first, *running], list(expected))


def test_a_row_error_survives_the_way_from_a_worker() -> None:
    error = pickle.loads(pickle.dumps(RowError(3, "a.png", "zero bytes")))
    assert str(error) == "row 3 (a.png): zero bytes"
    assert (error.row, error.file, error.reason) == (3, "a.png", "zero bytes")


# --- cached features


def cache_of(rows: int, views: int = 3, variants: int = 4, width: int = 5) -> FeatureCache:
    values = torch.arange(rows * views * variants, dtype=torch.float32).reshape(rows, views, variants, 1)
    boxes = torch.rand(rows, views, variants, 4)
    flips = torch.rand(rows, views, variants) < 0.5
    return FeatureCache(
        torch.arange(rows).float()[:, None].expand(-1, width).contiguous(),
        values.expand(-1, -1, -1, width).contiguous(),
        boxes=boxes,
        flips=flips,
    )


def test_cached_features_are_those_of_the_row_the_view_and_one_variant(make_corpus: Make) -> None:
    cache = cache_of(20)
    batches = train_loader(make_corpus(), INPUTS, VIEWS, batch_size=5, seed=0, cache={"image": cache})
    chosen = set()
    for batch in batches:
        assert isinstance(batch["image"], Features)
        assert batch["text"].ndim == 2
        for view, features in enumerate(batch["image_views"]):
            place = features.pooled[:, 0].long()
            assert torch.equal(place // 12, batch["index"])
            assert ((place // 4) % 3 == view).all()
            variant = place % 4
            chosen.update(variant.tolist())
            assert cache.boxes is not None
            assert cache.flips is not None
            assert torch.equal(batch["view_boxes"][:, view], cache.boxes[batch["index"], view, variant])
            assert torch.equal(batch["view_flips"][:, view], cache.flips[batch["index"], view, variant])
    assert chosen == {0, 1, 2, 3}
    assert not same(next(iter(batches)), next(iter(loader(make_corpus(), batch_size=5))))


def test_a_cached_caption_is_the_one_that_would_have_been_read(make_corpus: Make) -> None:
    corpus = make_corpus(20, captions=3)
    variants = torch.tensor([[10.0 * row + caption] for row in range(20) for caption in (0, 1, 2)])
    cache = FeatureCache(variants[::3], variants, counts=torch.full((20,), 3))
    raw = train_loader(corpus, INPUTS, batch_size=5, seed=3)
    cached = train_loader(corpus, INPUTS, batch_size=5, seed=3, cache={"text": cache})
    for words, features in zip(raw, cached, strict=True):
        said = [int(chr(ids[ids > 0][-1])) for ids in words["text"]]
        assert features["text"].pooled[:, 0].tolist() == [
            10 * row + caption for row, caption in zip(words["index"].tolist(), said, strict=True)
        ]


def test_evaluation_and_viewless_training_read_the_plain_features(make_corpus: Make) -> None:
    cache = {"image": cache_of(20)}
    batch = next(iter(eval_loader(make_corpus(), INPUTS, cache=cache)))
    assert batch["image"].pooled[:, 0].tolist() == list(range(20))
    batch = next(iter(train_loader(make_corpus(), INPUTS, (), batch_size=5, seed=0, cache=cache)))
    assert torch.equal(batch["image"].pooled[:, 0].long(), batch["index"])


def test_with_everything_cached_nothing_is_decoded_and_no_process_is_started(make_corpus: Make) -> None:
    corpus = make_corpus()
    inputs = {"image": INPUTS["image"]}
    batches = train_loader(corpus, inputs, VIEWS, batch_size=5, seed=0, workers=2, cache={"image": cache_of(20)})
    assert batches._workers == 0
    assert len(list(batches)) == 4
    assert "_cells" not in vars(corpus)


def test_a_cache_that_does_not_fit_is_refused(make_corpus: Make) -> None:
    with pytest.raises(DataError, match="the image cache has 19 rows, made has 20"):
        loader(make_corpus(), cache={"image": cache_of(19)})
    with pytest.raises(DataError, match="the feature cache holds 2 views, the method declares 3"):
        loader(make_corpus(), cache={"image": cache_of(20, views=2)})


# --- under Lightning


def test_lightning_saves_and_restores_the_place_in_the_epoch(make_corpus: Make, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch")

    class Watcher(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.seen = torch.nn.Linear(1, 1), []

        def training_step(self, batch: dict[str, Any], number: int) -> torch.Tensor:
            self.seen.append(batch["index"].tolist())
            return self.weight(torch.ones(1)).sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    def fit(steps: int, resume: str | None = None) -> tuple[Any, list[list[int]]]:
        trainer = lightning.Trainer(
            max_steps=steps,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            barebones=False,
        )
        module = Watcher()
        text = {"text": INPUTS["text"]}
        trainer.fit(module, train_loader(make_corpus(), text, batch_size=5, seed=0), ckpt_path=resume)
        return trainer, module.seen

    _, uninterrupted = fit(7)
    trainer, before = fit(2)
    trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    _, after = fit(7, str(tmp_path / "stopped.ckpt"))
    assert before + after == uninterrupted


@pytest.mark.parametrize("make", [eval_loader, train_loader])
def test_a_batch_of_photographs_is_never_held_whole(
    make: Callable[..., EpochLoader], make_corpus: Make, whole_pictures
) -> None:
    seed = {} if make is eval_loader else {"seed": 0, "views": VIEWS}
    for batch in make(make_corpus(), {"image": INPUTS["image"]}, batch_size=10, **seed):
        assert len(batch["image"]) == 10
    assert len(whole_pictures) == 20
    assert max(whole_pictures) <= 2  # the one at work, and the next


PIXELS = ImageInput(size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def shown(batch: dict[str, Any], key: str) -> torch.Tensor:
    """A normalised picture in [0, 1]."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (INPUTS["image"].mean, INPUTS["image"].std))
    return torch.as_tensor(batch[key] * std + mean)


def test_raw_pixels_show_the_same_crop_as_the_encoder_sees_however_they_are_prepared(make_corpus: Make) -> None:
    views = (View(scale=(0.2, 0.5), count=2),)
    options = {"batch_size": 6, "seed": 0, "raw": {"image": PIXELS}}
    batch = next(iter(train_loader(make_corpus(), INPUTS, views, **options)))
    torch.testing.assert_close(batch["image_raw"], shown(batch, "image"), atol=1e-5, rtol=0)
    for seen, raw in zip(batch["image_views"], batch["image_raw_views"], strict=True):
        torch.testing.assert_close(raw, shown({"image": seen}, "image"), atol=1e-5, rtol=0)
    assert batch["view_boxes"].shape == (6, 2, 4)


def test_what_is_wanted_raw_as_the_encoder_is_fed_is_read_once(make_corpus: Make, monkeypatch: Any) -> None:
    corpus, read = make_corpus(), []
    plain = Corpus.sample
    monkeypatch.setattr(Corpus, "sample", lambda *given: read.append(given[1]) or plain(*given))
    batch = next(iter(train_loader(corpus, INPUTS, VIEWS, batch_size=6, seed=0, raw=INPUTS)))
    assert batch["image_raw"] is batch["image"]
    assert batch["image_raw_views"] is batch["image_views"]
    assert batch["text_raw_mask"] is batch["text_mask"]
    assert sorted(read) == sorted(batch["index"].tolist())


def test_raw_pixels_stand_beside_cached_features(make_corpus: Make) -> None:
    corpus = make_corpus()
    cache = {"image": FeatureCache(torch.arange(len(corpus)).float()[:, None])}
    live = next(iter(eval_loader(corpus, INPUTS)))
    for batch in (
        next(iter(eval_loader(corpus, INPUTS, cache=cache, raw={"image": PIXELS}))),
        next(iter(hook_loader(corpus, INPUTS, cache=cache, raw={"image": PIXELS}))),
        next(iter(train_loader(corpus, INPUTS, batch_size=4, seed=0, cache=cache, raw={"image": PIXELS}))),
    ):
        assert torch.equal(batch["image"].pooled[:, 0].long(), batch["index"])
        torch.testing.assert_close(batch["image_raw"], shown(live, "image")[batch["index"]], atol=1e-5, rtol=0)


def test_raw_words_are_those_of_the_caption_whose_features_were_drawn(make_corpus: Make) -> None:
    corpus = make_corpus()
    corpus = corpus.with_texts([[f"{row} a", f"{row} b"] for row in range(len(corpus))])
    words = INPUTS["text"].tokenizer([text for row in corpus.texts() for text in row])[0].float()
    cache = {"text": FeatureCache(words[::2], words, torch.full((len(corpus),), 2))}
    for batch in train_loader(corpus, INPUTS, batch_size=4, seed=0, cache=cache, raw={"text": INPUTS["text"]}):
        torch.testing.assert_close(batch["text_raw"].float(), batch["text"].pooled)
        assert batch["text_raw_mask"].any(dim=1).all()


def test_cached_views_of_what_is_wanted_raw_are_refused(make_corpus: Make) -> None:
    corpus = make_corpus()
    cache = {"image": FeatureCache(torch.zeros(len(corpus), 3), torch.zeros(len(corpus), 1, 2, 3))}
    with pytest.raises(DataError, match="views of image are wanted raw, and cached features are of others"):
        train_loader(corpus, INPUTS, VIEWS[:1], batch_size=4, seed=0, cache=cache, raw={"image": PIXELS})


def test_late_batches_are_bytes_until_they_are_taken_to_a_device(make_corpus: Make) -> None:
    corpus = make_corpus()
    here = loader(corpus)
    for early, late in zip(here, loader(corpus, late=True, workers=2), strict=True):
        assert isinstance(late["image"], Pixels)
        assert late["image"].values.dtype == torch.uint8
        moved = to_device(late, torch.device("cpu"))
        assert same(early, moved)
        assert moved["image"] is moved["image_views"][0]
