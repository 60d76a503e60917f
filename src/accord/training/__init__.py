"""Training: a method and a corpus become a trained method, and a trained method a folder that gives it back.

A method declares what is done (:mod:`accord.methods.programme`); here it is done, by one Lightning Trainer a stage.
Start reading at :func:`accord.training.fit.fit`, then :mod:`accord.training.module`, which makes a step. Around them:

- what is asked for and refused: ``config`` (settings), ``start`` (what would fail at the first step), ``stages`` (which
  parameters a stage and its optimisers have), ``device``, ``processes``;
- what makes a step: ``optimiser`` (optimisers and schedules by name), ``gradcache`` (large batches in little memory),
  ``averaging`` (of weights), ``seeding``, ``allocator``;
- what need not be computed twice: ``caching`` and ``feature_store`` (features of frozen encoders);
- what is written: ``journal`` and ``curves`` (loss terms), ``progress``, ``checkpoint`` and ``identity`` (how a killed
  run goes on), ``artifact`` (the finished model and what it can do), ``onnx`` (its export).
"""
