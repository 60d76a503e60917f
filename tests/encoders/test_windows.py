"""Windows of sequences and clips, their copies that were adapted, and steps that are features already."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from accord.data.inputs import SequenceInput, VideoInput
from accord.encoders import build_encoder
from accord.encoders.windows import WindowEncoder
from accord.errors import ConfigError

SMALL = {"features": 5, "width": 8, "depth": 1, "heads": 2}


def windows(**options: Any) -> WindowEncoder:
    torch.manual_seed(0)
    encoder = build_encoder("sequence", {"name": "windows:tiny_sequence", "of": SMALL, **options})
    assert isinstance(encoder, WindowEncoder)
    return encoder.eval()


def lengths(*counts: int) -> torch.Tensor:
    return torch.arange(max(counts)) < torch.tensor(counts)[:, None]


@pytest.mark.parametrize("count", [64, 65, 100, 250])
def test_many_windows_are_thinned_at_the_places_of_a_linspace(count: int) -> None:
    starts, real = windows().starts(torch.zeros(1, count + 15, 5), None)
    assert starts[0].tolist() == np.floor(np.linspace(0, count - 1, 64)).astype(int).tolist()
    assert real.all()


def test_a_row_has_as_many_windows_as_fit_its_own_steps_and_one_where_none_does() -> None:
    starts, real = windows(window=4).starts(torch.zeros(3, 9, 5), lengths(9, 5, 2))
    assert [starts[row][real[row]].tolist() for row in range(3)] == [[0, 1, 2, 3, 4, 5], [0, 1], [0]]


def test_a_step_is_what_the_encoder_makes_of_its_window_whatever_lies_outside() -> None:
    encoder, x = windows(window=4, stride=2), torch.randn(2, 9, 5)
    mask = lengths(9, 7)
    features = encoder(x, mask)
    torch.testing.assert_close(features.tokens[1, 1], encoder.of(x[1:2, 2:6]).pooled[0])
    assert features.stream().real().sum(dim=1).tolist() == [3, 2]
    other = torch.where(mask[..., None], x, 9.0)
    torch.testing.assert_close(encoder(other, mask).tokens, features.tokens)
    short = encoder(x, lengths(9, 2)).tokens[1]
    torch.testing.assert_close(short[0], encoder.of(x[1:2, :2]).pooled[0])
    assert not short[1:].any()


def test_windows_begin_when_their_first_step_does() -> None:
    times = torch.arange(9.0)[None] / 25
    features = windows(window=4, tokens=3)(torch.zeros(1, 9, 5), None, times=times)
    torch.testing.assert_close(features.stream().times, torch.tensor([[0.0, 2 / 25, 5 / 25]]))


def test_an_adapted_copy_is_mixed_in_and_trained_alone() -> None:
    encoder, x = windows(window=4, blend=0.25), torch.randn(2, 6, 5)
    before = encoder(x).tokens
    aware = encoder.adapt()
    torch.testing.assert_close(encoder(x).tokens, before)
    assert {name.partition(".")[0] for name, one in encoder.named_parameters() if one.requires_grad} == {"aware"}
    with torch.no_grad():
        aware.layer_norm.bias.add_(1.0)
    torch.testing.assert_close(encoder(x).tokens, before + 0.75)
    again = build_encoder("sequence", encoder.spec())
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again.eval()(x).tokens, encoder(x).tokens)


def test_clips_are_read_as_a_run_of_frames_and_sequences_from_their_start() -> None:
    assert windows(length=99).input == SequenceInput(5, 99, "first")
    clips = build_encoder("video", "windows:frames:tiny_vit")
    assert isinstance(clips.input, VideoInput)
    assert (clips.input.frames, clips.input.sampling) == (64, "dense")
    assert clips.config.of["image"]["name"] == "tiny_vit"


def test_an_encoder_of_windows_is_named_once() -> None:
    with pytest.raises(ConfigError, match="name it once"):
        build_encoder("sequence", {"name": "windows:tiny_sequence", "of": "steps"})


def test_steps_are_themselves_and_two_streams_are_mixed() -> None:
    plain = build_encoder("sequence", {"name": "steps", "features": 6})
    x, mask = torch.randn(2, 4, 6), lengths(4, 3)
    torch.testing.assert_close(plain(x, mask).tokens, x * mask[..., None])
    both = build_encoder("sequence", {"name": "steps", "features": 6, "streams": 2, "blend": 0.9})
    assert both.dim == both(x).tokens.shape[2] == 3
    torch.testing.assert_close(both(x).tokens, 0.9 * x[..., :3] + 0.1 * x[..., 3:])
    with pytest.raises(ConfigError, match="no two vectors of equal width"):
        build_encoder("sequence", {"name": "steps", "features": 5, "streams": 2})
