"""A model of clips takes animations and folders of frames for what they are, and shows the clip of a row."""

from types import SimpleNamespace

import datasets
import numpy as np
import pytest
from PIL import Image

from accord.data.columns import Columns
from accord.data.corpus import Corpus
from accord.errors import DataError
from accord.pipeline.judgement import _files
from accord.pipeline.rows import media_files
from accord.searching.query import _embedded_modality
from accord.searching.rows import file_paths

OF_CLIPS = SimpleNamespace(modalities=("video", "text"))
OF_PICTURES = SimpleNamespace(modalities=("image", "text"))


@pytest.fixture
def frames(tmp_path):
    """A folder with two folders of frames."""
    for name in ("left", "right"):
        (tmp_path / name).mkdir()
        for number in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_a_folder_of_frames_is_one_clip_for_a_model_of_clips(frames):
    assert _files([frames], OF_CLIPS) == ([frames / "left", frames / "right"], "video")
    assert _files([frames / "left"], OF_CLIPS) == ([frames / "left"], "video")
    files, modality = _files([frames], OF_PICTURES)
    assert (len(files), modality) == (4, "image")
    with pytest.raises(DataError, match="holds no file that the model embeds"):
        _files([frames], SimpleNamespace(modalities=("audio", "text")))


def test_a_picture_among_films_makes_their_folder_no_clip(frames):
    (frames / "left" / "film.mp4").touch()
    assert _files([frames], OF_CLIPS) == ([frames / "left" / "film.mp4", frames / "right"], "video")
    assert list(media_files(frames / "left", "video")) == [frames / "left" / "film.mp4"]
    assert list(media_files(frames / "right", "video")) == [frames / "right"]


def test_an_animation_is_a_clip_for_a_model_that_reads_no_pictures(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.webp")
    assert _embedded_modality(OF_CLIPS, tmp_path / "a.webp") == "video"
    assert _embedded_modality(OF_PICTURES, tmp_path / "a.webp") == "image"


def test_the_file_of_a_row_is_that_of_the_medium_that_is_read():
    rows = datasets.Dataset.from_dict({"poster": ["a.png"], "film": ["a.mp4"]})
    corpus = Corpus("films", rows, Columns(image="poster", video="film"), np.arange(1))
    assert file_paths(corpus) == ["a.png"]
    assert file_paths(corpus, ["video", "text"]) == ["a.mp4"]
