"""How right a classifier of moving digits is: the action, the pair of actions, and the direction inside the pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shared.moving import reverse

ACCURACY, PAIR, DIRECTION = "accuracy", "action or its reverse", "direction"
UNMIXED = {  # settings of a classifier of clips: opposite actions stay what they are, and digits have no colours
    **{"mixup": 0.0, "cutmix": 0.0},
    **{"crop_scale": [1.0, 1.0], "flip": 0.0, "colour": False},
}


def shares_found(answered: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, how often the action or its reverse was answered, and how often the right one, in percent."""
    right, pair = answered == truth, (answered == truth) | (answered == reverse(truth))
    shares = {ACCURACY: right.mean(), PAIR: pair.mean(), DIRECTION: right[pair].mean() if pair.any() else 0.5}
    return {name: 100 * float(share) for name, share in shares.items()}
