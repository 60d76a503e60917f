"""Which rows are wrong: pairs that do not belong together, labels that do not fit; what would be right instead.

``evidence`` turns numbers into probabilities by comparison with shuffled rows, ``pairs`` and ``labels`` make the
numbers from embeddings, ``findings`` says of each row what was found, ``table`` keeps it, ``review`` shows it to a
person, ``corrections`` writes the table without what was wrong. Nothing here changes the data that it reads.
"""

from accord.cleaning.findings import Aspect, Finding, Findings, put_together
from accord.cleaning.labels import LabelJudge
from accord.cleaning.pairs import PairJudge

__all__ = ["Aspect", "Finding", "Findings", "LabelJudge", "PairJudge", "put_together"]
