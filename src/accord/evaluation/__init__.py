"""Evaluation: one file per task, every number with its chance level and a 95 % interval.

The functions take plain tensors (embeddings, logits, labels), so that they score any model; ``evaluate_TASK``
puts a model and a corpus in front of them.
"""
