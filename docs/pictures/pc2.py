"""How PC² tells wrong pairs from right ones by their losses, and which captions mismatched pictures borrow.

Pairs, network and settings are those of the claim.

python docs/pictures/pc2.py
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from shared import of_claim, save
from shared.digits import WORDS, split_digits
from shared.encoders import DigitEncoder
from shared.layouts import CELLS, LEVELS, VOCABULARY, Pairs, WordBag, layout_digits
from sklearn.metrics import roc_auc_score
from torch import Tensor

from accord.functional import assign_pseudo_captions, gmm_clean_probability
from accord.methods import DataInfo
from accord.methods.noisy.dividing import NETWORKS, losses_among_others
from accord.methods.noisy.pair_network import PairNetwork, apart
from accord.methods.noisy.pc2 import Pc2

CLAIM = of_claim("pc2")
SEED, SHARE, SHOWN = 0, "40 %", 7
RIGHT, WRONG, INK = "#009e73", "#d55e00", "#111111"


def main() -> None:
    """Train, and draw losses after the warm-up and what mismatched pictures borrow later."""
    train, test = layout_digits(SEED, CLAIM.SHARES[SHARE])
    torch.manual_seed(SEED)
    method = Pc2(CLAIM.METHOD, {"image": DigitEncoder(), "text": WordBag()}, DataInfo(rows=len(train)))
    warmup, later = method.stages
    CLAIM.fitted(method, warmup, train, SEED, 0)
    losses = losses_of(method.eval(), train)
    CLAIM.fitted(method, later, train, SEED, warmup.epochs or 0)
    print(CLAIM.measure(method.eval(), train, test))
    figure = plt.figure(figsize=(12, 5.2))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=[1, 1.75])[0]
    draw_losses(left.subplots(), losses, train)
    left.subplots_adjust(left=0.15, right=0.85, top=0.96, bottom=0.11)
    draw_borrowed(right, method, train)
    print(save(figure, "pc2"))


@torch.inference_mode()
def losses_of(method: Pc2, rows: Pairs) -> Tensor:
    """The loss of each pair among others, by the first network."""
    read = method.token_features(rows.rows(torch.arange(len(rows))))
    image, text = (apart(read[name])[0] for name in ("image", "text"))
    network = cast(PairNetwork, method.networks[NETWORKS[0]])
    draws = torch.Generator().manual_seed(SEED)
    return losses_among_others(network.similarity, [image], [text], method.config.margin, draws, method.device)


def draw_losses(axis: Axes, losses: Tensor, rows: Pairs) -> None:
    """The losses of right and of wrong pairs, and what the mixture makes of a loss."""
    clean, bins = gmm_clean_probability(losses).numpy(), np.linspace(0, float(losses.max()), 36).tolist()
    values = losses.numpy()
    for right, colour, name in ((True, RIGHT, "right pairs"), (False, WRONG, "wrong pairs")):
        axis.hist(values[rows.right == right], bins, color=colour, alpha=0.65, label=name)
    print(f"after the warm-up: AUC of the losses {roc_auc_score(rows.right, clean):.3f}")
    chance, order = axis.twinx(), values.argsort()
    chance.plot(values[order], clean[order], color=INK, linewidth=1.8)
    chance.set(ylim=(0, 1.02), ylabel="probability of a right pair (line)")
    axis.set(xlabel="loss after the warm-up", ylabel="pairs")
    axis.spines["top"].set_visible(False)
    chance.spines["top"].set_visible(False)
    axis.legend(frameon=False, loc="upper center")


@torch.inference_mode()
def draw_borrowed(figure: SubFigure, method: Pc2, rows: Pairs) -> None:
    """Mismatched pictures, their captions as patterns, and the captions that they borrow."""
    verdicts = method.verdicts()
    assert verdicts is not None
    network = cast(PairNetwork, method.networks[NETWORKS[0]])
    read = method.token_features(rows.rows(torch.arange(len(rows))))
    predictions = network.predict("image", apart(read["image"])[0])
    doubted, kept = (~verdicts.kept).nonzero()[:, 0], verdicts.kept.nonzero()[:, 0]
    chosen, fit = assign_pseudo_captions(predictions[doubted], predictions[kept], method.config.caption_floor)
    lent, digits = kept[chosen], torch.from_numpy(split_digits(SEED)[0].labels)
    print(f"{len(doubted)} doubted, {100 * (~rows.right[doubted]).mean():.0f} % of them wrong")
    print(f"{100 * rows.right[kept].mean():.0f} % of the {len(kept)} others right")
    print(f"of those that lend {100 * rows.right[lent].mean():.0f} %")
    print(f"the same digit {100 * (digits[doubted] == digits[lent]).float().mean():.0f} %, fit {float(fit.mean()):.2f}")
    axes = figure.subplots(4, SHOWN)
    for place, column in enumerate(axes.T):
        own, lender = int(doubted[place]), int(lent[place])
        show_picture(column[0], rows, own)
        show_caption(column[1], rows, own)
        show_caption(column[2], rows, lender)
        show_picture(column[3], rows, lender)
        column[1].set_title(f"{float(verdicts.score[own]):.2f}", fontsize=10)
    for axis, name in zip(axes[:, 0], ("picture", "its caption", "borrowed", "lent by"), strict=True):
        axis.set_ylabel(name, fontsize=11)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.98, bottom=0.04, wspace=0.1, hspace=0.3)


def show_picture(axis: Axes, rows: Pairs, row: int) -> None:
    """A digit."""
    axis.imshow(-rows.pictures[row, 0], cmap="gray", interpolation="nearest")
    axis.set(xticks=[], yticks=[])


def show_caption(axis: Axes, rows: Pairs, row: int) -> None:
    """What a caption says, as a picture: the digit's word, how dark the cells are, and nothing of unsaid ones."""
    colour = RIGHT if rows.right[row] else WRONG
    words = [VOCABULARY[number - 1] for number in rows.words[row].tolist() if number]
    grid = np.full(len(CELLS), np.nan)
    for word in words:
        if word not in WORDS:
            grid[CELLS.index(word[:2])] = LEVELS.index(word[2])
    axis.imshow(grid.reshape(4, 4), cmap="gray_r", vmin=0, vmax=len(LEVELS) - 1)
    axis.set(xticks=[], yticks=[], facecolor="#fff3c4")
    axis.set_xlabel(next((word for word in words if word in WORDS), ""), fontsize=10, color=colour, labelpad=2)
    axis.spines[:].set(color=colour, linewidth=2)


if __name__ == "__main__":
    main()
