"""Write what the records of claims say to where it is told without them: the package's verdicts.json and the README.

Run it after `accord claims run`; `make claims` does. A test compares both with the records.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accord.claims.record import FORMAT, read_records, recorded
from accord.claims.table import table
from accord.evaluation.seeds import seeds_interval
from accord.files import write_atomically
from accord.papers.verdicts import Verdict, verdicts_of

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "claims" / "results"
SUMMARY = ROOT / "src" / "accord" / "papers" / "verdicts.json"
README = ROOT / "README.md"
DEMO = "emoji_web"  # the claim that the demo shows on fewer seeds
KINDS = {"holds": "hold", "does not hold": "do not", "undecided": "undecided", "no room": "without room"}
COLUMNS = ("claim", "a statement", "answer", "effect [95 % interval]", "all statements")
FRONT = {  # claim -> the question that says most about what its paper is known for
    "capro": "cross_entropy",
    "cico": "text to sequence",
    "clip": "temperature",
    "close": "noise",
    "coca": "retrieval",
    "contrastive_gap": "closed by CUA",
    "cross_video_mae": "action",
    "cwcl": "affine, large batches",
    "cwcl_speech": "affine, Spanish, large batches",
    "dynamic_reflections": "law against logarithms",
    "emoji_web": "cross_entropy",
    "fdt": "retrieval",
    "filip": "localisation against CLIP",
    "g2l": "semantic overlap",
    "gpc_gcd": "number from 30",
    "gram": "anchor to tuple",
    "gram_speech": "anchor to tuple",
    "hbi": "words and frames",
    "hbi_answers": "answers",
    "hydra_pairs": "filter",
    "ila": "direction",
    "improved_vlp_baselines": "equal epochs",
    "macil_sd": "contrast",
    "mcl_multistage": "against plain models, 40 colours",
    "meow": "weights, classification",
    "multilingual": "German to English",
    "multiview_infonce": "accuracy, MV-DHEL",
    "pc2": "robust, 40 %",
    "pixpro": "pixel against instance",
    "protoclip": "grouping",
    "rcad": "lgt",
    "slotcon": "against SimCLR",
    "swav": "equal partition",
    "tcl": "intra-modal contrast, wrong captions",
    "text_contrastive": "unseen labels",
    "xclip": "direction",
}


def main() -> None:
    """Write both."""
    write_atomically(SUMMARY, summary())
    write_atomically(README, with_results(README.read_text(encoding="utf-8")))


def summary() -> str:
    """The content of the package's file: ``SLUG/QUESTION`` -> answer, of all that was measured."""
    told = {question: asdict(verdict) for question, verdict in found().items()}
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def with_results(text: str) -> str:
    """The README with its marked parts made again."""
    return replaced(replaced(text, "verdicts", front()), "demo", demo())


def replaced(text: str, name: str, part: str) -> str:
    """A text with what stands between two marks replaced."""
    start, end = f"<!-- {name}: made by tools/verdicts.py -->", f"<!-- end of {name} -->"
    before, _, rest = text.partition(start)
    assert end in rest, f"{README} has no {start} … {end}"
    after = rest.partition(end)[2]
    return f"{before}{start}\n\n{part}\n\n{end}{after}"


def found() -> dict[str, Verdict]:
    """Question -> answer, of all records."""
    return {name: verdict for record in read_records(RESULTS) for name, verdict in verdicts_of(record).items()}


def front() -> str:
    """A row per claim: how its statements came out, and the one that says most; and a count of all."""
    answers = [verdict.answer for verdict in found().values()]
    if not answers:
        return "No claim has been measured by this version yet."
    told = f"Statements measured: {len(answers)} ({counts(answers)}). One of each claim:"
    rows = []
    for record in read_records(RESULTS):
        slug, verdicts = record["slug"], verdicts_of(record)
        one = verdicts[f"{slug}/{FRONT[slug]}"]
        every = counts(verdict.answer for verdict in verdicts.values())
        rows.append((f"`{slug}`", one.statement, f"**{one.answer}**", one.effect, every))
    return f"{told}\n\n{table(COLUMNS, rows)}"


def counts(answers: Iterable[str]) -> str:
    """How many came out how.

    >>> counts(["holds", "undecided", "holds"])
    '2 hold, 1 undecided'
    """
    counted = Counter(answers)
    return ", ".join(f"{counted[kind]} {told}" for kind, told in KINDS.items() if counted[kind])


def demo() -> str:
    """The arms of the demo's claim, and the answers to its questions."""
    record = recorded(RESULTS / f"{DEMO}.json")
    if record is None:
        return "It has not been measured yet."
    metric = record["questions"][0]["metric"]
    arms = {name: arm["values"][metric] for name, arm in record["arms"].items() if metric in arm.get("values", {})}
    rows = [(name, shown(values)) for name, values in arms.items()]
    told = f"Means over seeds ({len(record['seeds'])}) ± half of the 95 % interval."
    answers = [f"- {one.statement} **{one.answer}**: {one.effect}" for one in of_demo(record).values()]
    older = "The record was made by an older version; what it says of the differences is being measured again."
    return "\n\n".join([table(("arm", metric), rows), told, "\n".join(answers) or older])


def of_demo(record: Mapping[str, Any]) -> dict[str, Verdict]:
    """Its answers; none where an older version made the record."""
    return verdicts_of(record) if record.get("format") == FORMAT else {}


def shown(values: list[float]) -> str:
    """A mean with half of its interval."""
    mean = seeds_interval(values)
    return f"{mean.value:.1f} ± {mean.high - mean.value:.1f}" if mean.high is not None else f"{mean.value:.1f}"


if __name__ == "__main__":
    main()
