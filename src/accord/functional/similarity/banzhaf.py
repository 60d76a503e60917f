"""Banzhaf interaction: how much more two players bring together than apart, over all coalitions of the others.

Words of a text and frames of its clip play a cooperative game whose pay-off is the similarity of the members (HBI; Jin
et al. 2023, CVPR). The interaction of a word i and a frame j is I(i, j) = E_A [F(A + ij) - F(A + i) - F(A + j) + F(A)]
over coalitions A of the other players, each of them as likely (Grabisch and Roubens 1999). Coalitions are enumerated,
or drawn, one draw for all pairs; all pairs of a coalition are computed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_choice, check_ndim, check_range, check_shape

Payoff = Callable[[Tensor, Tensor], Tensor]
Variant = Literal["textbook", "released"]
EXACT_PLAYERS = 16  # whose coalitions are enumerated: 2¹⁴ for each pair
ELEMENTS = 1 << 24  # numbers of a block of coalitions: 64 MiB in float32


def banzhaf_interaction(
    payoff: Payoff,
    n_text: int,
    n_video: int,
    samples: int | None = None,
    *,
    merged: Payoff | None = None,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
    block: int = 64,
) -> Tensor:
    """Banzhaf interaction of each word with each frame in any game of two kinds of players.

    Args:
        payoff: ``(text (S, B or 1, P, n_text) bool, video (S, B or 1, Q, n_video) bool)``, members of each of P
            coalitions of words and Q of frames, to their pay-offs with each other ``(S, B, P, Q)``. It is asked for
            S coalitions of the others with P = 2 n_text and Q = 2 n_video: first without, then with the p-th word.
        n_text: number of words.
        n_video: number of frames.
        samples: coalitions that are drawn, each player in it with probability ½, the same ones for all pairs; None
            enumerates all.
        merged: pay-offs of the coalitions in which word i and frame j are one player, from those without the i-th word
            and those without the j-th frame; None lets both join, as in the textbook.
        generator: of the draws; the device's own without one.
        device: that coalitions are to be on; that of the generator, or the processor.
        block: coalitions at a time.

    Returns:
        ``(B, n_text, n_video)``.

    Raises:
        ValueError: too many players to enumerate, or no samples.

    Example:
        A pay-off of 1 for each word that meets its own frame:

        >>> def meet(text, video):
        ...     return torch.einsum("sbpi,sbqi->sbpq", text.float(), video.float())
        >>> banzhaf_interaction(meet, 2, 2)
        tensor([[[1., 0.],
                 [0., 1.]]])
    """
    check_range(1, max(n_text, 1), n_text=n_text)
    check_range(1, max(n_video, 1), n_video=n_video)
    if samples is None and n_text + n_video > EXACT_PLAYERS:
        raise ValueError(
            f"{n_text} words and {n_video} frames: coalitions of at most {EXACT_PLAYERS} players are enumerated; draw "
            "some of them, such as samples=100"
        )
    device = device or (torch.device("cpu") if generator is None else generator.device)
    if samples is None:
        coalitions = _enumerated(n_text, n_video, block, device)
        count = 2 ** (n_text + n_video - 2)
    else:
        check_range(1, max(samples, 1), samples=samples)
        coalitions, count = _drawn(n_text, n_video, samples, block, generator, device), samples
    return torch.stack([coalition_gains(payoff, *some, merged).sum(dim=0) for some in coalitions]).sum(dim=0) / count


def token_interaction(
    similarity: Tensor,
    text_weight: Tensor,
    video_weight: Tensor,
    text_mask: Tensor | None = None,
    video_mask: Tensor | None = None,
    samples: int | None = None,
    *,
    variant: Variant = "textbook",
    scale: float = 1000.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Banzhaf interaction in the game of weighted token-wise similarity (HBI): labels for what word means what frame.

    The pay-off of a coalition is :func:`wti` of its members. ``"textbook"``: padding and others cannot be chosen, the
    weights of members are normalised anew, and word and frame both join. ``"released"``, as in the reference
    implementation: what is outside has the similarity 0, which can be chosen; weights are a softmax over the members'
    weights; and where word and frame join as one player, they meet each other alone.

    Args:
        similarity: ``(B, n, m)`` cosines of each text's words with the frames of its own clip.
        text_weight: ``(B, n)`` shares of the words.
        video_weight: ``(B, m)`` shares of the frames.
        text_mask: ``(B, n)`` bool, False for padding, which joins no coalition.
        video_mask: ``(B, m)`` bool.
        samples: coalitions that are drawn; None enumerates all.
        variant: which game.
        scale: factor on the similarities.
        generator: of the draws, on the device of the similarities.

    Returns:
        ``(B, n, m)`` float32 at least, 0 where either is padding, without gradient.

    Raises:
        ShapeError: shapes that do not fit.
        ValueError: an unknown variant, too many players to enumerate, no samples.

    Example:
        >>> half = torch.full((1, 2), 0.5)
        >>> token_interaction(torch.eye(2)[None], half, half, scale=1.0)
        tensor([[[ 0.7500, -0.2500],
                 [-0.2500,  0.7500]]])
    """
    check_choice(("textbook", "released"), variant=variant)
    game = TokenGame.of(similarity, text_weight, video_weight, text_mask, video_mask, variant=variant, scale=scale)
    rows, n, m = similarity.shape
    with torch.no_grad(), torch.autocast(similarity.device.type, enabled=False):
        found = banzhaf_interaction(
            game.payoff,
            n,
            m,
            samples,
            merged=game.merged if variant == "released" else None,
            generator=generator,
            device=similarity.device,
            block=max(1, ELEMENTS // max(1, 4 * rows * n * m * max(n, m))),
        )
        return found * game.real


@dataclass(frozen=True)
class TokenGame:
    """The game of :func:`token_interaction`, to be asked for single pay-offs.

    Args:
        similarity: ``(B, n, m)``, scaled, 0 at padding.
        text_weight: ``(B, n)``.
        video_weight: ``(B, m)``.
        text_mask: ``(B, n)`` bool.
        video_mask: ``(B, m)`` bool.
        variant: which game.
    """

    similarity: Tensor
    text_weight: Tensor
    video_weight: Tensor
    text_mask: Tensor
    video_mask: Tensor
    variant: Variant = "textbook"

    @classmethod
    def of(
        cls,
        similarity: Tensor,
        text_weight: Tensor,
        video_weight: Tensor,
        text_mask: Tensor | None = None,
        video_mask: Tensor | None = None,
        *,
        variant: Variant = "textbook",
        scale: float = 1000.0,
    ) -> TokenGame:
        """From similarities as they are.

        Raises:
            ShapeError: shapes that do not fit.
        """
        check_ndim(3, similarity=similarity)
        rows, n, m = similarity.shape
        check_shape((rows, n), text_weight=text_weight)
        check_shape((rows, m), video_weight=video_weight)
        c = as_float(similarity.detach())
        real = torch.ones(rows, n, dtype=torch.bool, device=c.device) if text_mask is None else text_mask
        shown = torch.ones(rows, m, dtype=torch.bool, device=c.device) if video_mask is None else video_mask
        check_shape((rows, n), text_mask=real)
        check_shape((rows, m), video_mask=shown)
        weights = text_weight.detach().to(c), video_weight.detach().to(c)
        return cls(scale * c * (real[:, :, None] & shown[:, None]), *weights, real, shown, variant)

    @property
    def real(self) -> Tensor:
        """``(B, n, m)`` bool: neither word nor frame is padding."""
        return self.text_mask[:, :, None] & self.video_mask[:, None]

    def payoff(self, text: Tensor, video: Tensor) -> Tensor:
        """As :func:`banzhaf_interaction` asks for it."""
        text, video = text & self.text_mask[:, None], video & self.video_mask[:, None]
        words, frames = self._best(self.similarity, video), self._best(self.similarity.mT, text)
        a, b = self._shares(self.text_weight, text), self._shares(self.video_weight, video)
        return (torch.einsum("sbpn,sbqn->sbpq", a, words) + torch.einsum("sbqm,sbpm->sbpq", b, frames)) / 2

    def merged(self, text: Tensor, video: Tensor) -> Tensor:
        """Pay-offs where a word and a frame join as one player, in the reference implementation.

        Of the similarities of both with the coalition none is counted, and their weights are set beside those of the
        members, which are shares already.
        """
        text, video = text & self.text_mask[:, None], video & self.video_mask[:, None]
        words, frames = self._best(self.similarity, video), self._best(self.similarity.mT, text)
        alone = self.similarity
        by_words = self._beside(self.text_weight, text, words, alone if alone.shape[2] == 1 else alone.relu())
        by_frames = self._beside(self.video_weight, video, frames, (alone if alone.shape[1] == 1 else alone.relu()).mT)
        return (by_words + by_frames.mT) / 2

    def _beside(self, weight: Tensor, members: Tensor, best: Tensor, alone: Tensor) -> Tensor:
        """``(S, B, i, j)`` weighted mean over the members without i and over i, which meets j alone."""
        share = self._shares(weight, members).exp() * members  # (S, B, i, n)
        own = weight.exp()[..., None]  # (B, i, 1)
        return (torch.einsum("sbin,sbjn->sbij", share, best) + own * alone) / (share.sum(dim=3, keepdim=True) + own)

    def _best(self, similarity: Tensor, members: Tensor) -> Tensor:
        """Best similarity of each player with the members of each coalition of the other kind, ``(S, B, Q, n)``."""
        seen = members[:, :, :, None]  # (S, B, Q, 1, m)
        if self.variant == "released":
            return (similarity[None, :, None] * seen).amax(dim=4)
        best = similarity[None, :, None].masked_fill(~seen, -torch.inf).amax(dim=4)
        return best.masked_fill(~seen.any(dim=4), 0.0)

    def _shares(self, weight: Tensor, members: Tensor) -> Tensor:
        """``(S, B, P, n)`` weights of the members, which sum to 1; 0 for a coalition without any."""
        each = weight[:, None]
        if self.variant == "released":
            return each.masked_fill(~members, torch.finfo(each.dtype).min).softmax(dim=3) * members
        held = each * members
        return held / held.sum(dim=3, keepdim=True).clamp(min=torch.finfo(held.dtype).tiny)


def coalition_gains(payoff: Payoff, text: Tensor, video: Tensor, merged: Payoff | None = None) -> Tensor:
    """What each pair brings together more than apart, for each coalition: ``(S, B, n, m)``.

    Args:
        payoff: as in :func:`banzhaf_interaction`.
        text: ``(S, B or 1, n, n)`` bool, the words of the s-th coalition without the i-th.
        video: ``(S, B or 1, m, m)`` bool, its frames without the j-th.
        merged: as there.
    """
    sides = [torch.cat([side, side | _diagonal(side)], dim=2) for side in (text, video)]
    value = payoff(*sides).unflatten(3, (2, -1)).unflatten(2, (2, -1))  # (S, B, 2, n, 2, m)
    together = value[:, :, 1, :, 1] if merged is None else merged(text, video)
    return together - value[:, :, 1, :, 0] - value[:, :, 0, :, 1] + value[:, :, 0, :, 0]


def _drawn(
    n: int, m: int, samples: int, block: int, generator: torch.Generator | None, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Coalitions in blocks, from which every player is taken out in turn.

    A player's draws do not depend on how many come after it, so that words of padding change nothing.
    """
    video, text = (torch.rand(count, samples, generator=generator, device=device) < 0.5 for count in (m, n))
    for some in torch.arange(samples, device=device).split(block):
        text_side, video_side = (side[:, some].T[:, None, None] for side in (text, video))  # (S, 1, 1, n)
        yield text_side & ~_diagonal(text_side), video_side & ~_diagonal(video_side)


def _enumerated(n: int, m: int, block: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """All coalitions of the others in blocks: each of words with each of frames."""
    text, video = (_others(count, device) for count in (n, m))
    pairs = torch.cartesian_prod(torch.arange(len(text), device=device), torch.arange(len(video), device=device))
    for some in pairs.split(block):
        yield text[some[:, 0]], video[some[:, 1]]


def _others(count: int, device: torch.device) -> Tensor:
    """``(2^(n - 1), 1, n, n)`` bool: the subsets of the other players, for the i-th player in the i-th row."""
    bits = torch.arange(2 ** (count - 1), device=device)[:, None] >> torch.arange(count - 1, device=device) & 1
    place = torch.arange(count, device=device)
    before = place[None] < place[:, None]  # (i, n): the n-th player comes before the i-th
    which = (place[None] - (~before).int()).clamp(min=0)  # its bit among those of the others
    subsets = bits.bool()[:, which] if count > 1 else torch.zeros(1, 1, 1, dtype=torch.bool, device=device)
    return (subsets & (place[None] != place[:, None]))[:, None]


def _diagonal(side: Tensor) -> Tensor:
    return torch.eye(side.shape[3], dtype=torch.bool, device=side.device)
