"""Bundles: pretrained encoders with the space that they share, read from folders of other libraries.

``clip:FOLDER`` and ``siglip:FOLDER`` are models of transformers, ``open_clip:FOLDER`` one of OpenCLIP; ``hf:NAME`` in
the place of the folder is one of the hub. :func:`load_bundle` gives all of it, and
:func:`accord.encoders.build_encoder` a single tower by the same name. Weights are read as safetensors, and none may be
missing.
"""

from accord.encoders.bundles.base import Bundle, bundle_key, load_bundle

__all__ = ["Bundle", "bundle_key", "load_bundle"]
