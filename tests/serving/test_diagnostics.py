"""Diagnostics: a space is looked at in a job; numbers, points, colours and rows are there when it is done."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from fastapi.testclient import TestClient
from PIL import Image

from accord.searching.rows import vector_column
from accord.serving import ServeConfig, build_app, probed
from accord.serving.probed import named_values

LOCAL = "http://127.0.0.1:8000"


@pytest.fixture
def vectors(root):
    """A file of 60 rows with vectors of pictures and texts."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 60)
    x = torch.eye(8)[kind] + 0.1 * torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    (root / "pictures").mkdir()
    for number in range(60):
        Image.new("RGB", (20, 10), ("red", "green", "blue")[kind[number]]).save(root / "pictures" / f"{number}.png")
    columns = {
        "image_vector": vector_column(F.normalize(x, dim=1)),
        "text_vector": vector_column(F.normalize(x.flip(1), dim=1)),
        "image": [f"pictures/{number}.png" for number in range(60)],
        "text": [f"thing {number}" for number in range(60)],
        "label": [f"kind {number}" for number in kind],
        "weight": rng.random(60).tolist(),
    }
    pq.write_table(pa.table(columns), root / "vectors.parquet")
    pq.write_table(pa.table({"text": ["no vectors"]}), root / "plain.parquet")
    (root / "broken.parquet").write_bytes(b"PAR1")
    return "runs/vectors.parquet"


def look(visitor, **wish):
    """The outcome of a wish."""
    found = visitor.post("/api/diagnostics", json=wish)
    assert found.status_code == 202, found.text
    for _ in range(400):
        told = visitor.get(f"/api/diagnostics/{found.json()['id']}").json()
        if told["state"] in ("done", "failed"):
            return told
        time.sleep(0.02)
    pytest.fail("it does not end")


def test_files_of_embeddings_are_offered_and_no_others(vectors, visitor):
    text = visitor.get("/diagnostics").text
    assert "runs/vectors.parquet" in text
    assert "plain.parquet" not in text
    assert "broken.parquet" not in text
    assert "house" in text


def test_a_file_is_looked_at(vectors, visitor):
    found = look(visitor, model=vectors)
    assert found["state"] == "done", found
    assert (found["rows"], found["drawn"], found["modalities"]) == (60, 60, ["image", "text"])
    assert found["colours"] == ["label", "weight"]
    numbers = {number["name"]: number for number in found["numbers"]}
    assert numbers["image purity"]["value"] > 90
    assert numbers["image purity"]["meaning"]
    assert 0 < found["share"] <= 100
    address = f"/diagnostics/{found['id']}"
    text = visitor.get(address).text
    assert "image purity" in text
    assert "Not measured" in text  # no factors were named
    assert visitor.get(f"{address}/figure.png").content[:4] == b"\x89PNG"
    points = np.frombuffer(visitor.get(f"/api{address}/points").content, "<f4").reshape(2, 60, 2)
    assert np.abs(points[0].mean(axis=0) - points[1].mean(axis=0)).max() > 0.2  # the gap can be seen
    assert look(visitor, model=vectors)["id"] == found["id"]  # which is not done twice


def test_rows_are_coloured_by_labels_and_columns(vectors, visitor):
    address = f"/api/diagnostics/{look(visitor, model=vectors)['id']}"
    labels = visitor.get(f"{address}/colours?by=label").json()
    assert sorted(labels["names"]) == ["kind 0", "kind 1", "kind 2"]
    assert len(labels["codes"]) == 60
    weight = visitor.get(f"{address}/colours?by=weight").json()
    assert len(weight["names"]) == 5
    assert visitor.get(f"{address}/colours?by=image").status_code == 400
    assert visitor.get(f"{address}/colours").status_code == 422


def test_chosen_rows_are_listed_with_their_pictures_and_saved(vectors, visitor):
    name = look(visitor, model=vectors)["id"]
    found = visitor.post(f"/api/diagnostics/{name}/rows?most=2", json={"places": [5, 3, 5, 9]}).json()
    assert found["ids"] == [5, 3, 9]
    assert [row["caption"] for row in found["rows"]] == ["thing 5", "thing 3"]
    assert found["rows"][0]["pictured"]
    later = visitor.post(f"/api/diagnostics/{name}/rows?skip=2", json={"places": [5, 3, 9]}).json()
    assert [row["place"] for row in later["rows"]] == [9]
    picture = visitor.get(f"/diagnostics/{name}/rows/5.webp")
    assert picture.content[8:12] == b"WEBP"
    table = visitor.post(f"/api/diagnostics/{name}/table", json={"places": [9]}).text.splitlines()
    assert table[0] == "row,caption,label,file"
    assert table[1].startswith("9,thing 9,kind ")
    assert table[1].endswith("pictures/9.png")


def test_rows_that_are_not_drawn_are_refused(vectors, visitor):
    name = look(visitor, model=vectors)["id"]
    for places in ([60], [-1]):
        assert visitor.post(f"/api/diagnostics/{name}/rows", json={"places": places}).status_code == 404
    assert visitor.get(f"/diagnostics/{name}/rows/60.webp").status_code == 404
    assert visitor.post(f"/api/diagnostics/{name}/rows", json={"places": "all"}).status_code == 422


def test_no_more_points_are_drawn_than_a_picture_takes(vectors, visitor, monkeypatch):
    monkeypatch.setattr(probed, "POINTS", 40)
    found = look(visitor, model=vectors)
    assert (found["rows"], found["drawn"]) == (60, 20)
    assert len(visitor.get(f"/api/diagnostics/{found['id']}/points").content) == 40 * 2 * 4
    ids = visitor.post(f"/api/diagnostics/{found['id']}/rows", json={"places": list(range(20))}).json()["ids"]
    assert ids == sorted(ids)
    assert ids != list(range(20))


def test_a_wish_that_cannot_be_met_is_told(vectors, visitor):
    said = visitor.post("/api/diagnostics", json={"model": "runs/plain.parquet"})
    assert said.status_code == 404
    assert "no model 'runs/plain.parquet'" in said.json()["detail"]
    assert visitor.post("/api/diagnostics", json={"model": "house", "data": "/etc"}).status_code == 404
    assert visitor.post("/api/diagnostics", json={"model": "house", "file": "x"}).status_code == 422
    failed = look(visitor, model=vectors, factors=["colour"])
    assert failed["state"] == "failed"
    assert "no column 'colour'" in failed["error"]
    assert "no column" in visitor.get(f"/diagnostics/{failed['id']}").text
    assert visitor.get(f"/api/diagnostics/{failed['id']}/points").status_code == 400


def test_what_was_not_looked_at_is_not_found(visitor):
    for path in ("", "/points", "/colours?by=label"):
        assert visitor.get(f"/api/diagnostics/none{path}").status_code == 404
    assert visitor.get("/diagnostics/none").status_code == 404


def test_the_form_leads_to_where_the_outcome_will_be(vectors, visitor):
    form = {"model": vectors, "data": "", "label": "", "factors": "weight, "}
    gone = visitor.post("/diagnostics", data=form, headers={"hx-request": "true"}).headers["hx-redirect"]
    told = look(visitor, model=vectors, factors=["weight"])
    assert gone == f"/diagnostics/{told['id']}"
    assert any(number["name"] == "image: weight, probe" for number in told["numbers"])
    assert visitor.get(gone, headers={"hx-request": "true"}).headers["hx-refresh"] == "true"


def test_work_that_waits_says_so(vectors, visitor):
    visitor.app.state.workshop.jobs.start("other", "Other work", lambda: time.sleep(0.5))
    begun = visitor.post("/api/diagnostics", json={"model": vectors}).json()
    assert begun["state"] == "waiting"
    address = f"/diagnostics/{begun['id']}"
    assert "waits for other work" in visitor.get(address, headers={"hx-request": "true"}).text
    assert visitor.get(f"/api{address}/points").status_code == 409


def test_a_model_is_looked_at_on_data_that_the_application_knows(root, tmp_path):
    (tmp_path / "things.csv").write_text("text,label\n" + "".join(f"a red {n} heart,{n % 2}\n" for n in range(20)))
    data = str(tmp_path / "things.csv")
    with TestClient(build_app(ServeConfig(runs=(root,), data=(data,))), base_url=LOCAL) as visitor:
        found = look(visitor, model="house", data=data)
        assert found["state"] == "done", found
        assert found["modalities"] == ["text"]
        assert found["title"] == f"house on {data}"


def test_values_that_are_too_many_for_colours_are_put_together():
    names, codes, rest = named_values([f"{number % 40:02}" for number in range(100)])
    assert len(names) == 12
    assert names[-1] == "29 others"
    assert rest
    assert set(codes) == set(range(12))
    assert named_values(["", None, float("nan"), "a"]) == (["a"], [-1, -1, -1, 0], False)
