"""What costs time to watch is computed where a line of the log ends."""

import json

from toy_method import Toy, toy, toy_corpus

from accord.training.config import TrainingConfig
from accord.training.fit import fit


def test_a_step_is_watched_where_a_line_ends(tmp_path, monkeypatch):
    watched, loss = [], Toy.loss

    def seen(self, batch, step):
        watched.append(step.watched)
        terms = loss(self, batch, step)
        return terms | ({"dear": terms["total"].detach() * 0 + step.index} if step.watched else {})

    monkeypatch.setattr(Toy, "loss", seen)
    corpus = toy_corpus()
    config = TrainingConfig(epochs=2, batch_size=len(corpus) // 5, log_every=2, accelerator="cpu")
    fit(toy(), corpus, config, tmp_path, progress=False)
    assert len(watched) >= 10
    assert watched == [False, True, False, True, True] * (len(watched) // 5)
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [line["dear"] % 5 for line in lines] == [1, 3, 4] * (len(watched) // 5)
