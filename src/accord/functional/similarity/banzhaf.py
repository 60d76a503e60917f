"""Banzhaf interaction: how much more two players bring together than apart, over all coalitions of the others.

Words of a text and frames of its clip play a cooperative game whose pay-off is the similarity of the members (HBI; Jin
et al. 2023, CVPR). The interaction of a word i and a frame j is I(i, j) = E_A [F(A + ij) - F(A + i) - F(A + j) + F(A)]
over coalitions A of the other players, each of them as likely (Grabisch and Roubens 1999). Coalitions are enumerated,
or drawn; all pairs share each of them, without the two in question.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from accord.functional.checks import as_float, check_choice, check_ndim, check_range, check_shape

Payoff = Callable[[Tensor, Tensor], Tensor]
Variant = Literal["textbook", "released"]
EXACT_PLAYERS = 16  # whose coalitions are enumerated
ELEMENTS = 1 << 20  # numbers of a block of coalitions: 4 MiB in float32, which caches hold


def banzhaf_interaction(
    payoff: Payoff,
    n_text: int,
    n_video: int,
    samples: int | None = None,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | None = None,
    block: int = 16,
) -> Tensor:
    """Banzhaf interaction of each word with each frame in any game of two kinds of players.

    For the game of token-wise similarity :func:`token_interaction` gives the same in a fraction of the time.

    Args:
        payoff: ``(words (S, 1, n_text) bool, frames (S, 1, n_video) bool)``, the members of S coalitions, to the
            pay-offs ``(S, B)`` of B games.
        n_text: number of words.
        n_video: number of frames.
        samples: coalitions that are drawn, each player in it with probability ½; None enumerates all.
        generator: of the draws; the device's own without one.
        device: that coalitions are to be on; that of the generator, or the processor.
        block: coalitions at a time, each with ``4 n_text n_video`` pay-offs.

    Returns:
        ``(B, n_text, n_video)``.

    Raises:
        ValueError: no players or samples, or too many players to enumerate.

    Example:
        A pay-off of 1 for each word that meets its own frame:

        >>> banzhaf_interaction(lambda words, frames: (words & frames).float().sum(dim=2), 2, 2)
        tensor([[[1., 0.],
                 [0., 1.]]])
    """

    def gains(text: Tensor, video: Tensor) -> Tensor:
        words, frames = _without_and_with(text)[:, 0], _without_and_with(video)[:, 0]  # (S, 2n, n), (S, 2m, m)
        pairs = len(words), words.shape[1], frames.shape[1]
        sides = words[:, :, None].expand(*pairs, n_text), frames[:, None].expand(*pairs, n_video)
        value = payoff(*(side.flatten(0, 2)[:, None] for side in sides))  # (S · 2n · 2m, B)
        value = value.unflatten(0, (pairs[0], 2, n_text, 2, n_video))
        return (value[:, 1, :, 1] - value[:, 1, :, 0] - value[:, 0, :, 1] + value[:, 0, :, 0]).movedim(3, 1)

    device = device or (torch.device("cpu") if generator is None else generator.device)
    return _mean(gains, _coalitions(n_text, n_video, samples, generator, device), block)


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
        samples: coalitions that are drawn, the same ones for all games; None enumerates all.
        variant: which game.
        scale: factor on the similarities.
        generator: of the draws, on the device of the similarities.

    Returns:
        ``(B, n, m)`` float32 at least, 0 where either is padding, without gradient.

    Raises:
        ShapeError: shapes that do not fit.
        ValueError: an unknown variant, no samples, or too many players to enumerate.

    Example:
        >>> half = torch.full((1, 2), 0.5)
        >>> token_interaction(torch.eye(2)[None], half, half, scale=1.0)
        tensor([[[ 0.7500, -0.2500],
                 [-0.2500,  0.7500]]])
    """
    game = TokenGame.of(similarity, text_weight, video_weight, text_mask, video_mask, variant=variant, scale=scale)
    rows, n, m = similarity.shape
    block = max(1, ELEMENTS // max(1, rows * (n + m) ** 2))
    with torch.no_grad(), torch.autocast(similarity.device.type, enabled=False):
        found = _mean(game.gains, _coalitions(n, m, samples, generator, similarity.device), block)
        return found * (game.text_mask[:, :, None] & game.video_mask[:, None])


@dataclass(frozen=True)
class TokenGame:
    """The games of :func:`token_interaction`, one for each of B pairs of a text and a clip.

    Args:
        similarity: ``(B, n, m)``, scaled, 0 at padding.
        text_weight: ``(B, n)``.
        video_weight: ``(B, m)``.
        text_mask: ``(B, n)`` bool.
        video_mask: ``(B, m)`` bool.
        variant: which game.

    Example:
        >>> half = torch.full((1, 2), 0.5)
        >>> game = TokenGame.of(torch.eye(2)[None], half, half, scale=1.0)
        >>> one, both = torch.tensor([[[True, False]]]), torch.tensor([[[True, True]]])
        >>> game.payoff(one, both), game.payoff(both, both)
        (tensor([[0.7500]]), tensor([[1.]]))
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
            ValueError: an unknown variant.
        """
        check_choice(("textbook", "released"), variant=variant)
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

    def payoff(self, text: Tensor, video: Tensor) -> Tensor:
        """Pay-offs ``(S, B)`` of coalitions of words ``(S, B or 1, n)`` and frames ``(S, B or 1, m)``, both bool."""
        text, video = text & self.text_mask, video & self.video_mask
        words, frames = self._best(self.similarity, video), self._best(self.similarity.mT, text)
        a, b = self._shares(self.text_weight, text), self._shares(self.video_weight, video)
        return ((a * words).sum(dim=2) + (b * frames).sum(dim=2)) / 2

    def gains(self, text: Tensor, video: Tensor) -> Tensor:
        """What each pair brings together more than apart in each coalition without the two, ``(S, B, n, m)``.

        Pay-offs are products of weights that hang on the words alone with maxima that hang on the frames alone, and
        the other way round, so that the four pay-offs are the products of differences.

        Args:
            text: ``(S, B or 1, n)`` bool.
            video: ``(S, B or 1, m)`` bool.
        """
        text, video = text & self.text_mask, video & self.video_mask
        words, frames = self._best_around(self.similarity, video), self._best_around(self.similarity.mT, text)
        a, b = self._shares_around(self.text_weight, text), self._shares_around(self.video_weight, video)
        by_words = torch.einsum("sbin,sbjn->sbij", a[1] - a[0], words[1] - words[0])
        by_frames = torch.einsum("sbjm,sbim->sbij", b[1] - b[0], frames[1] - frames[0])
        if self.variant == "released":  # the two meet nobody but each other
            by_words = by_words + self._one_player(self.similarity, a, words, self.text_weight)
            by_frames = by_frames + self._one_player(self.similarity.mT, b, frames, self.video_weight).mT
        return (by_words + by_frames) / 2

    def _one_player(
        self, similarity: Tensor, shares: tuple[Tensor, Tensor], best: tuple[Tensor, Tensor], weight: Tensor
    ) -> Tensor:
        """How much less they are worth ``(S, B, i, j)`` as one player, in the weighted mean over the kind of i.

        Their similarities with the coalition are not counted, and the weight of i is set beside those of the members,
        which are shares already.
        """
        alone = similarity.relu() if similarity.shape[2] > 1 else similarity  # others of its row are 0
        member = shares[0].exp() * (shares[0] > 0)
        own = weight.exp()[..., None]  # (B, i, 1)
        joined = torch.einsum("sbin,sbjn->sbij", member, best[0]) + own * alone
        return joined / (member.sum(dim=3, keepdim=True) + own) - torch.einsum("sbin,sbjn->sbij", shares[1], best[1])

    def _best(self, similarity: Tensor, members: Tensor) -> Tensor:
        """Best similarity of each player with the members of the other kind ``(S, B, m)``: ``(S, B, n)``."""
        if self.variant == "released":
            return (similarity * members[:, :, None]).amax(dim=3)
        best = similarity.masked_fill(~members[:, :, None], -torch.inf).amax(dim=3)
        return best.masked_fill(~members.any(dim=2, keepdim=True), 0.0)

    def _best_around(self, similarity: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
        """The same without and with the j-th member, ``(S, B, m, n)`` each: of others the best or the second best."""
        released = self.variant == "released"
        seen = members[:, :, None]
        found = similarity * seen if released else similarity.masked_fill(~seen, -torch.inf)  # (S, B, n, m)
        best, place = found.max(dim=3, keepdim=True)
        second = found.scatter(3, place, -torch.inf).amax(dim=3, keepdim=True)  # -inf where there is one member
        own = place == torch.arange(found.shape[3], device=found.device)
        without = torch.where(own, second, best)  # over all but j
        together = torch.maximum(without, similarity)
        without = without.relu() if released else without.masked_fill(without == -torch.inf, 0.0)
        return without.mT, together.mT

    def _shares(self, weight: Tensor, members: Tensor) -> Tensor:
        """Weights of the members, which sum to 1 along the last dimension; 0 for a coalition without any."""
        if self.variant == "released":
            return weight.masked_fill(~members, torch.finfo(weight.dtype).min).softmax(dim=-1) * members
        held = weight * members
        return held / held.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(held.dtype).tiny)

    def _shares_around(self, weight: Tensor, members: Tensor) -> tuple[Tensor, Tensor]:
        """The same without and with the i-th player, ``(S, B, n, n)`` each."""
        without, together = _without_and_with(members).chunk(2, dim=2)
        return self._shares(weight[:, None], without), self._shares(weight[:, None], together)


def _mean(gains: Callable[[Tensor, Tensor], Tensor], coalitions: tuple[Tensor, Tensor], block: int) -> Tensor:
    """The mean of the gains over coalitions, some at a time."""
    text, video = coalitions
    parts = zip(text.split(block), video.split(block), strict=True)
    return torch.stack([gains(*some).sum(dim=0) for some in parts]).sum(dim=0) / len(text)


def _coalitions(
    n: int, m: int, samples: int | None, generator: torch.Generator | None, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Members ``(S, 1, n)`` and ``(S, 1, m)``, drawn or all; each one of the others is among all four times.

    A player's draws do not depend on how many words come after it, so that padding changes nothing.
    """
    check_range(1, max(n, 1), n_text=n)
    check_range(1, max(m, 1), n_video=m)
    if samples is not None:
        check_range(1, max(samples, 1), samples=samples)
        video, text = (torch.rand(count, samples, generator=generator, device=device) < 0.5 for count in (m, n))
        return text.T[:, None], video.T[:, None]
    if n + m > EXACT_PLAYERS:
        raise ValueError(
            f"{n} words and {m} frames: coalitions of at most {EXACT_PLAYERS} players are enumerated; draw some of "
            "them, such as samples=100"
        )
    bits = torch.arange(2 ** (n + m), device=device)[:, None] >> torch.arange(n + m, device=device) & 1
    return bits[:, None, :n].bool(), bits[:, None, n:].bool()


def _without_and_with(members: Tensor) -> Tensor:
    """Members ``(S, B, n)`` without each player in turn, then with each: ``(S, B, 2n, n)``."""
    own = torch.eye(members.shape[-1], dtype=torch.bool, device=members.device)
    each = members[..., None, :]
    return torch.cat([each & ~own, each | own], dim=-2)
