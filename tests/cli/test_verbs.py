from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from accord.data import packs
from accord.errors import DataError


def test_train_hands_its_options_to_the_pipeline(pipeline, accord_cli, tmp_path) -> None:
    words = "--method capro --image picture --text title --text tags --label query --group concept"
    words += " --image-encoder tiny_vit --text-encoder minilm --epochs 5 --batch-size 64 --seed 3 --resume --quiet"
    words += " --set method.temperature=0.2 --set training.ema=null"
    words += (
        " --device cpu --precision bf16 --workers 2 --freeze all --freeze image=2 --weights text=random --logger csv"
    )
    result = accord_cli("train", "pictures", *words.split(), "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert pipeline.calls == [
        (
            "train",
            ("pictures",),
            {
                "method": "capro",
                "config": None,
                "encoders": {"image": "tiny_vit", "text": "minilm"},
                "bundle": None,
                "columns": {"image": "picture", "text": ["title", "tags"], "label": "query", "group": "concept"},
                "out": tmp_path / "run",
                "resume": True,
                "seed": 3,
                "epochs": 5,
                "batch_size": 64,
                "device": "cpu",
                "precision": "bf16",
                "workers": 2,
                "freeze": {"*": "all", "image": 2},
                "weights": {"text": "random"},
                "loggers": ["csv"],
                "objective_add": (),
                "settings": {"method.temperature": 0.2, "training.ema": None},
                "progress": False,
            },
        )
    ]


def test_train_leaves_what_is_not_said_to_the_configuration(pipeline, accord_cli, tmp_path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("method: capro\n")
    assert accord_cli("train", "--config", config).exit_code == 0
    _, args, options = pipeline.calls[0]
    assert args == (None,)
    assert options["config"] == str(config)
    assert "method" not in options
    assert (options["encoders"], options["columns"], options["settings"]) == ({}, {}, {})


def test_train_prints_metrics_with_intervals_and_what_to_do_next(pipeline, accord_cli) -> None:
    output = accord_cli("train", "pictures").stdout
    for part in ("top-1", "53.8 %", "[50.0, 57.6]", "3.8", "734", "report.html", "accord search 'my run' 'a cat'"):
        assert part in output
    assert "doubted" not in output
    pipeline.answers["train"].doubted = Path("runs/a/doubted.csv")
    assert "doubted rows: runs/a/doubted.csv" in accord_cli("train", "papers").stdout


def test_evaluate_prints_the_table(pipeline, accord_cli, tmp_path) -> None:
    words = "--task retrieval --task zero_shot --set zero_shot.templates=drawing"
    result = accord_cli("evaluate", tmp_path, "other", *words.split())
    assert "[50.0, 57.6]" in result.stdout
    tasks = ["retrieval", "zero_shot"]
    expected = {"tasks": tasks, "templates": None, "candidates": None, "examples": 0, "columns": {}, "device": "auto"}
    expected["workers"] = None
    expected["settings"] = {"zero_shot.templates": "drawing"}
    assert pipeline.calls == [("evaluate", (str(tmp_path), "other"), expected)]


def test_embed_says_what_it_wrote(pipeline, accord_cli, tmp_path) -> None:
    result = accord_cli("embed", tmp_path, "pictures", "--out", "v.parquet")
    assert result.stdout == f"wrote {tmp_path / 'vectors.parquet'}\n"
    plain = {"out": Path("v.parquet"), "engine": "plain", "workers": None, "columns": {}, "device": "auto"}
    assert pipeline.calls == [("embed", (str(tmp_path), "pictures"), plain)]


def test_embed_can_be_shared_out(pipeline, accord_cli, tmp_path) -> None:
    words = ("embed", tmp_path, "pictures", "--engine", "ray", "--workers")
    assert accord_cli(*words, "3").exit_code == 0
    assert pipeline.calls[0][2]["engine"] == "ray"
    assert pipeline.calls[0][2]["workers"] == 3
    assert accord_cli(*words, "0").exit_code == 2
    assert "--engine ray --workers 2" in accord_cli("embed", "--help").stdout


def test_search_prints_hits_and_captions_are_no_markup(pipeline, accord_cli, tmp_path) -> None:
    result = accord_cli("search", tmp_path, "red heart", "-k", "3")
    assert "0.830" in result.stdout
    assert "red heart [big]" in result.stdout
    plain = {"data": None, "k": 3, "ann": None, "candidates": None, "columns": {}, "device": "auto", "workers": None}
    assert pipeline.calls == [
        (
            "search",
            (str(tmp_path), "red heart"),
            {**plain, "plus": (), "minus": (), "strength": 1.0, "together": {}, "like": None},
        )
    ]


def test_search_takes_words_to_add_and_things_to_look_for_together(pipeline, accord_cli, tmp_path) -> None:
    altered = accord_cli("search", tmp_path, "cat.png", "--minus", "a cat", "--plus", "a dog", "--plus", "snow")
    assert "cat.png + a dog + snow - a cat" in altered.stdout
    assert pipeline.calls[-1][2]["plus"] == ["a dog", "snow"]
    assert pipeline.calls[-1][2]["minus"] == ["a cat"]
    accord_cli("search", tmp_path, "--text", "a dog", "--audio", "bark.wav")
    assert pipeline.calls[-1][1] == (str(tmp_path), None)
    assert pipeline.calls[-1][2]["together"] == {"text": "a dog", "audio": "bark.wav"}
    assert accord_cli("search", tmp_path, "a cat", "--text", "a dog").exit_code == 2


def test_search_takes_a_row_instead_of_a_query(pipeline, accord_cli, tmp_path) -> None:
    assert "like vim" in accord_cli("search", tmp_path, "--like", "vim").stdout
    assert pipeline.calls[-1][1] == (str(tmp_path), None)
    assert pipeline.calls[-1][2]["like"] == "vim"
    for wrong in (["vim"], ["--text", "vim"]):
        assert accord_cli("search", tmp_path, "--like", "vim", *wrong).exit_code == 2


def test_search_takes_classes_and_changes_a_row_as_a_query(pipeline, accord_cli, tmp_path) -> None:
    result = accord_cli("search", tmp_path, "--like", "7", "--plus", "a dog", "--label", "dog", "--label", "cat")
    assert result.exit_code == 0
    asked = pipeline.calls[-1][2]
    assert (asked["like"], asked["plus"], asked["labels"]) == ("7", ["a dog"], ["dog", "cat"])


def test_search_takes_what_to_search_before_the_query(pipeline, accord_cli, tmp_path) -> None:
    assert accord_cli("search", tmp_path, "pack:emoji", "red fruit").exit_code == 0
    _, asked, options = pipeline.calls[-1]
    assert (asked, options["data"]) == ((str(tmp_path), "red fruit"), "pack:emoji")
    assert accord_cli("search", tmp_path, "pack:emoji", "red", "fruit").exit_code == 2
    assert accord_cli("search", tmp_path, "pack:emoji", "red fruit", "--data", "pack:stamps").exit_code == 2


@pytest.mark.parametrize(("flag", "ann"), [("--ann", True), ("--exact", False)])
def test_search_can_be_told_to_be_exact(pipeline, accord_cli, tmp_path, flag, ann) -> None:
    accord_cli("search", tmp_path, "heart", flag)
    assert pipeline.calls[0][2]["ann"] is ann


def test_search_open_writes_the_contact_sheet(pipeline, accord_cli, tmp_path) -> None:
    result = accord_cli("search", tmp_path, "heart", "--open")
    assert f"contact sheet: {tmp_path / 'search.png'}" in result.stdout
    with Image.open(tmp_path / "search.png") as sheet:
        assert sheet.format == "PNG"


@pytest.mark.parametrize("verb", ["evaluate", "embed"])
def test_columns_of_other_data_and_the_device_can_be_named(pipeline, accord_cli, tmp_path, verb) -> None:
    words = "--image file --text title --text tags --label kind --video clip --audio sound --group set --graph authors"
    result = accord_cli(verb, tmp_path, "other.csv", *words.split(), "--device", "cpu")
    assert result.exit_code == 0, result.output
    named = {"image": "file", "text": ["title", "tags"], "label": "kind", "video": "clip", "audio": "sound"}
    assert pipeline.calls[0][2]["columns"] == {**named, "group": "set", "graph": ["authors"]}
    assert pipeline.calls[0][2]["device"] == "cpu"
    assert accord_cli(verb, tmp_path, "other.csv", "--device", "gpu").exit_code == 2


def test_search_names_columns_by_key_since_its_own_options_are_the_query(pipeline, accord_cli, tmp_path) -> None:
    words = ["--data", "other.csv", "--column", "image=file", "--column", "text=title", "--column", "text=tags"]
    assert accord_cli("search", tmp_path, "a cat", *words).exit_code == 0
    assert pipeline.calls[0][2]["columns"] == {"image": ["file"], "text": ["title", "tags"]}
    assert "write KEY=COL" in accord_cli("search", tmp_path, "a cat", "--column", "title").stderr
    pipeline.error = DataError("other.csv has no text column (it has image): pass --text COL")
    assert "pass --column text=COL" in accord_cli("search", tmp_path, "a cat", "--data", "other.csv").stderr


def test_compare_prints_one_table_and_the_report(pipeline, accord_cli, tmp_path) -> None:
    result = accord_cli("compare", "demo.yaml", "--seeds", "3", "--out", tmp_path)
    assert "capro is better." in result.stdout
    assert f"report: {tmp_path / 'report.html'}" in result.stdout
    assert pipeline.calls == [
        ("compare", ("demo.yaml",), {"seeds": 3, "out": tmp_path, "resume": False, "device": None})
    ]


def test_probe_prints_numbers_and_how_to_read_them(pipeline, accord_cli, tmp_path) -> None:
    arguments = (tmp_path, "photos.csv", "--measure", "purity", "--factor", "colour", "--factor", "size")
    result = accord_cli("probe", *arguments, "--json", "numbers.json", "--label", "kind", "--seed", "3")
    assert result.exit_code == 0, result.output
    ((_, args, options),) = pipeline.calls
    assert args == (str(tmp_path), "photos.csv", None)
    assert options["measures"] == ["purity"]
    assert options["factors"] == ["colour", "size"]
    assert options["columns"] == {"label": "kind"}
    assert (str(options["json_file"]), options["seed"]) == ("numbers.json", 3)
    for said in ("image purity", "of [its] neighbours", "61.2 %", "[57.0, 65.5]", "10.0", "2,000", "-3.50"):
        assert said in result.output
    assert "numbers: numbers.json" in result.output


def test_probe_takes_a_file_of_vectors_and_refuses_what_is_neither(pipeline, accord_cli, tmp_path) -> None:
    (tmp_path / "vectors.parquet").write_bytes(b"")
    assert accord_cli("probe", tmp_path / "vectors.parquet").exit_code == 0
    assert accord_cli("probe", tmp_path / "gone.parquet").exit_code == 2
    unknown = accord_cli("probe", tmp_path, "--measure", "puriti")
    assert unknown.exit_code == 2
    assert "did you mean purity" in unknown.output


def test_a_verb_is_found_under_its_former_name(pipeline, accord_cli, tmp_path) -> None:
    result = accord_cli("diagnose", tmp_path, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert "diagnose is called probe now" in result.output
    assert pipeline.calls[0][0] == "probe"
    assert "diagnose" not in accord_cli("--help").output


def test_papers_list_names_every_method(accord_cli) -> None:
    result = accord_cli("papers", "list")
    assert result.exit_code == 0
    for name in ("capro", "clip", "cross_entropy", "prototypical", "NeurIPS 2023"):
        assert name in result.stdout


def test_papers_show_prints_card_and_settings_of_the_method(accord_cli) -> None:
    result = accord_cli("papers", "show", "clip")
    assert result.exit_code == 0, result.output
    for part in ("Radford et al., ICML 2021", "Settings", "temperature", "0.07", "Traps", "Claims"):
        assert part in result.stdout


def test_unknown_pack_is_one_line(accord_cli) -> None:
    result = accord_cli("data", "info", "emojis")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: no pack 'emojis'; did you mean emoji?")


def test_data_list_and_info_describe_the_packs(accord_cli) -> None:
    assert "emoji" in accord_cli("data", "list").stdout
    assert "licence" in accord_cli("data", "info", "emoji").stdout


def test_data_get_reports_and_says_how_to_use_it(accord_cli, monkeypatch) -> None:
    def fetch(name: str, force: bool, say) -> SimpleNamespace:
        say(f"fetching {name}, force {force}")
        return SimpleNamespace(pack=SimpleNamespace(name=name), rows=951)

    monkeypatch.setattr(packs, "fetch_pack", fetch)
    result = accord_cli("data", "get", "stamps", "--force")
    assert result.stdout == "fetching stamps, force True\nuse it as pack:stamps (951 rows)\n"


def test_data_build_takes_a_folder(accord_cli, monkeypatch, tmp_path) -> None:
    def build(name: str, folder: Path, say) -> SimpleNamespace:
        assert folder == tmp_path
        return SimpleNamespace(pack=SimpleNamespace(name=name), rows=951)

    monkeypatch.setattr(packs, "build_pack", build)
    assert accord_cli("data", "build", "stamps", tmp_path).stdout == "use it as pack:stamps (951 rows)\n"
