"""Learnable parts between an encoder and a loss: projectors, poolers, gates, grouping layers, matchers, graph layers.

Each is a thin module around mathematics that is written elsewhere or in a few lines here; none knows of a method.
Masks are True on real positions. The decoder of masked autoencoders stands apart, in ``heads.masked``: it imports timm,
which takes longer than all the others together.
"""

from accord.encoders.heads.graph_reasoning import GraphReasoning, SelfAttentionPool
from accord.encoders.heads.graphs import MetaPathContext, SemanticAttention, SharedGCN
from accord.encoders.heads.interaction import BanzhafHead, TokenAnswers, TokenLevels, TokenMerge, Tokens, TokenVotes
from accord.encoders.heads.maps import PixelPropagation, SemanticGrouping
from accord.encoders.heads.moments import ProposalConv, SparseMomentMap
from accord.encoders.heads.pairs import Fuse, LabelMatcher, OpenGate, PairGate, PairWeightMLP
from accord.encoders.heads.projectors import Activation, ConvHead, DINOHead, MLPHead
from accord.encoders.heads.sequence import AddedSteps, StepTower
from accord.encoders.heads.tokens import AttentionalPooler, PrefixProjector, QueryMLP, prepend

__all__ = [
    "Activation",
    "AddedSteps",
    "AttentionalPooler",
    "BanzhafHead",
    "ConvHead",
    "DINOHead",
    "Fuse",
    "GraphReasoning",
    "LabelMatcher",
    "MLPHead",
    "MetaPathContext",
    "OpenGate",
    "PairGate",
    "PairWeightMLP",
    "PixelPropagation",
    "PrefixProjector",
    "ProposalConv",
    "QueryMLP",
    "SelfAttentionPool",
    "SemanticAttention",
    "SemanticGrouping",
    "SharedGCN",
    "SparseMomentMap",
    "StepTower",
    "TokenAnswers",
    "TokenLevels",
    "TokenMerge",
    "TokenVotes",
    "Tokens",
    "prepend",
]
