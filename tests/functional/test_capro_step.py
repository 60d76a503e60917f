"""One training step of CAPro, put together from the blocks, equals the public implementation's."""

from __future__ import annotations

import torch

from accord import functional as AF
from accord.state import FeatureQueue, PrototypeBank


def test_the_blocks_in_order_give_the_golden_step(golden) -> None:
    arrays = golden("capro")
    given = {key.split(".in.")[1]: value for key, value in arrays.items() if "webvision_step.in." in key}
    want = {key.split(".out.")[1]: value for key, value in arrays.items() if "webvision_step.out." in key}
    q, queue, bank = given["q"], FeatureQueue(16, 6), PrototypeBank(5, 6, momentum=0.999)
    queue.features, bank.prototypes = given["queue"].T.contiguous(), given["prototypes"]

    instance = AF.queue_logits(q, given["k"], queue.features, 0.1)  # the queue before it is filled
    queue.enqueue(given["k"])
    low_logits = queue.features @ given["lowdim_cls_weight"].T
    dictionary = AF.mixed_posterior(low_logits, bank.logits(queue.features, 0.1))
    bootstrap = AF.collective_bootstrap(q, queue.features, dictionary)  # the queue after it was filled
    proto_logits = bank.logits(q, 0.1)
    prob = AF.mixed_posterior(given["cls_logits"], proto_logits)
    labels, keep = AF.correct_labels(prob, given["web_label"], given["is_fewshot"], correct_th=0.6)
    bank.update(q, labels.masked_fill(~keep, -1))

    got = {
        "inst_logits": instance,
        "queue_after": queue.features.T,
        "cb_target_kept": bootstrap[keep],
        "label_kept": labels[keep],
        "proto_logits_kept": proto_logits[keep],
        "lowdim_logits_kept": (q @ given["lowdim_cls_weight"].T)[keep],
        "prototypes_after": bank.prototypes,
        "q_kept": q[keep],
    }
    assert got.keys() == want.keys()
    for name, value in got.items():
        torch.testing.assert_close(value, want[name], rtol=1e-5, atol=3e-6, msg=lambda m, n=name: f"{n}: {m}")
