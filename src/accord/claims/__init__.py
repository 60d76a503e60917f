"""Claims: sentences that can turn out wrong, measured arm against arm over shared seeds.

A file ``claims/SLUG.py`` holds a declaration, :class:`Claim`; ``accord claims run SLUG`` measures it.
"""

from accord.claims.declare import Arm, Claim, Combined, Measured, Question, Scale, Tuning

__all__ = ["Arm", "Claim", "Combined", "Measured", "Question", "Scale", "Tuning"]
