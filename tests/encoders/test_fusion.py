"""Parts that read text and pictures together."""

import pytest
import torch

from accord.encoders.fusion import VideoSpecificPrompt
from accord.errors import ConfigError

OURS = {
    "norm1": "norm",
    "norm3": "mlp.0",
    "mlp.0": "mlp.1",
    "cross_attn.proj": "attention.out_proj",
}


def golden_prompt(given):
    """The prompt module with the weights of the reference values."""
    state = {name[4:]: value for name, value in given.items() if name.startswith("vsp.")}
    wanted = {name: state[name] for name in ("alpha", "norm.weight", "norm.bias")}
    for layer in range(2):
        theirs = f"decoder.{layer}."
        parts = [state.pop(f"{theirs}cross_attn.{part}_proj.weight") for part in "qkv"]
        wanted[f"layers.{layer}.attention.in_proj_weight"] = torch.cat(parts)
        for name in [name for name in state if name.startswith(theirs)]:
            part, kind = name.removeprefix(theirs).rsplit(".", 1)
            wanted[f"layers.{layer}.{OURS.get(part, part)}.{kind}"] = state[name]
    prompt = VideoSpecificPrompt(16, heads=2)
    prompt.load_state_dict(wanted)
    return prompt


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_a_prompt_has_the_golden_values_and_gradients(golden, precision, tolerance):
    given = golden("xclip")
    prompt = golden_prompt(given).to(precision)
    text, visual = (given[f"vsp_{name}"].to(precision).requires_grad_() for name in ("text", "visual"))
    y = prompt(text, visual)
    y.square().sum().backward()
    for found, name in ((y, "y"), (text.grad, "grad_text"), (visual.grad, "grad_visual")):
        torch.testing.assert_close(found, given[f"vsp_{name}"].to(precision), rtol=tolerance, atol=tolerance)


def test_the_prompt_of_a_class_does_not_depend_on_the_others():
    prompt = VideoSpecificPrompt(16, heads=2)
    text, visual = torch.randn(2, 5, 16), torch.randn(2, 9, 16)
    torch.testing.assert_close(prompt(text, visual)[:, 1:3], prompt(text[:, 1:3], visual))
    assert (VideoSpecificPrompt(16, heads=2, alpha=0.0)(text, visual) == 0).all()


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match="heads = 3: must divide the width of the space, 16"):
        VideoSpecificPrompt(16, heads=3)
