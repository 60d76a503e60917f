"""Encoders by name: one declaration each. What is asked of them here is answered without importing one.

The declarations are the only list: building, error messages, the shell's completion and the table of the documentation
read them. Other installed packages add encoders by the entry point ``accord.encoders``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from accord.data.fields import main_fields
from accord.errors import did_you_mean
from accord.plugins import plugin_names


@dataclass(frozen=True)
class Declaration:
    """An encoder that can be named.

    Args:
        modality: what it reads.
        name: what it is called; with a colon at its end whatever begins so (and the word alone), such as ``frames:``;
            empty for all names that ``knows`` knows.
        make: ``MODULE:FUNCTION``, called with the parsed settings and the keywords ``weights`` (True, False or a path)
            and ``texts`` (what a new tokenizer is trained on).
        config: ``MODULE:CLASS`` of its settings.
        gives: what it gives with its usual settings; see :attr:`accord.encoders.base.Encoder.gives`.
        about: what it is, for the documentation.
        weights: where pretrained ones come from, in words; None when it starts from random ones.
        form: how it is written where that is more than its name.
        wraps: the option that names an encoder inside it, which may be named after the colon instead.
        knows: ``MODULE:FUNCTION`` that says of a name whether it is one of these.
        describe: ``MODULE:FUNCTION`` that makes its settings from a graph and the node type that is encoded, or from a
            corpus and the field that is read; and from the options given.
    """

    modality: str
    name: str
    make: str
    config: str
    gives: frozenset[str]
    about: str
    weights: str | None = None
    form: str = ""
    wraps: str = ""
    knows: str = ""
    describe: str = ""

    def fits(self, name: str) -> bool:
        """Whether an encoder of that name is meant; without asking ``knows``."""
        return name == self.name.removesuffix(":") or (self.name.endswith(":") and name.startswith(self.name))

    @property
    def written(self) -> str:
        """How a user writes it."""
        return self.form or self.name


_IMAGE, _TEXT, _AUDIO = ("accord.encoders.image:{}", "accord.encoders.text:{}", "accord.encoders.audio:{}")
_PATCHES = frozenset({"pooled", "tokens", "patches"})
_WORDS = frozenset({"pooled", "tokens", "words", "layers"})
_CLIPS = frozenset({"pooled", "tokens", "frames", "patches"})
_STEPS = frozenset({"pooled", "tokens", "steps", "layers"})
_WINDOWS = frozenset({"pooled", "tokens", "steps"})

DECLARATIONS = (
    Declaration(
        modality="image",
        name="efficientnet_lite0",
        make=_IMAGE.format("build_timm"),
        config=_IMAGE.format("TimmConfig"),
        gives=_PATCHES | {"map2", "map4", "map8", "map16", "map32"},
        about="EfficientNet-Lite0, 4.7 M parameters, ImageNet-1k",
        weights="hub, or extra `weights`",
    ),
    Declaration(
        modality="image",
        name="tiny_vit",
        make=_IMAGE.format("build_tiny_vit"),
        config=_IMAGE.format("TinyViTConfig"),
        gives=_PATCHES | {"prenorm", "map8", "layers"},
        about="small vision transformer, for training from scratch at 64 px",
    ),
    Declaration(
        modality="image",
        name="tiny_convnet",
        make=_IMAGE.format("build_tiny_convnet"),
        config=_IMAGE.format("TinyConvNetConfig"),
        gives=_PATCHES | {"map4", "map8", "map16", "map32"},
        about="small ConvNeXt, likewise; rows of a batch stay apart",
    ),
    Declaration(
        modality="image",
        name="tiny_resnet",
        make=_IMAGE.format("build_tiny_resnet"),
        config=_IMAGE.format("TinyResNetConfig"),
        gives=_PATCHES | {"map2", "map4", "map8"},
        about="small ResNet with batch norm and a fine map, likewise",
    ),
    Declaration(
        modality="image",
        name="image_mae",
        make="accord.encoders.masked:build_image_mae",
        config="accord.encoders.masked:ImageMaeConfig",
        gives=_PATCHES | {"layers", "visible"},
        about="small vision transformer that can be shown some patches alone, for masked autoencoders; takes their "
        "published weights",
    ),
    Declaration(
        modality="image",
        name="",
        make=_IMAGE.format("build_timm"),
        config=_IMAGE.format("TimmConfig"),
        gives=_PATCHES,
        about="whatever timm has, e.g. `resnet50`; maps and layers where the network has them",
        weights="hub, or a path",
        form="any timm model name",
        knows=_IMAGE.format("is_timm_model"),
    ),
    Declaration(
        modality="text",
        name="minilm",
        make=_TEXT.format("build_transformers"),
        config=_TEXT.format("HFTextConfig"),
        gives=_WORDS,
        about="all-MiniLM-L6-v2, 22.7 M parameters, 384 dimensions",
        weights="hub, or extra `weights`",
    ),
    Declaration(
        modality="text",
        name="tiny_text",
        make=_TEXT.format("build_tiny_text"),
        config=_TEXT.format("TinyTextConfig"),
        gives=_WORDS,
        about="small transformer; its BPE tokenizer is trained on your texts",
    ),
    Declaration(
        modality="text",
        name="hf:",
        make=_TEXT.format("build_transformers"),
        config=_TEXT.format("HFTextConfig"),
        gives=_WORDS,
        about="any encoder that transformers reads, from the hub",
        weights="itself",
        form="hf:NAME",
    ),
    Declaration(
        modality="text",
        name="",
        make=_TEXT.format("build_transformers"),
        config=_TEXT.format("HFTextConfig"),
        gives=_WORDS,
        about="any encoder that transformers reads, from your disk",
        weights="itself",
        form="the folder of a transformers model",
        knows=_TEXT.format("is_folder"),
    ),
    *(
        Declaration(
            modality=modality,
            name=f"{kind}:",
            make="accord.encoders.bundles.base:build_tower",
            config=f"accord.encoders.bundles.towers:{config}",
            gives=gives if kind != "open_clip" else gives - {"layers"},
            about=f"the {modality} tower of {what}",
            weights="itself",
            form=f"{kind}:FOLDER, {kind}:hf:NAME",
        )
        for modality, config, gives in (
            ("image", "ImageTowerConfig", _PATCHES | {"layers"}),
            ("text", "TextTowerConfig", _WORDS),
        )
        for kind, what in (
            ("clip", "a CLIP that transformers saved"),
            ("siglip", "a SigLIP that transformers saved"),
            ("open_clip", "a model of OpenCLIP (extra `open_clip`)"),
        )
    ),
    Declaration(
        modality="video",
        name="frames:",
        make="accord.encoders.video:build_frames",
        config="accord.encoders.video:FramesConfig",
        gives=frozenset({"pooled", "tokens", "frames", "patches"}),
        about="any image encoder per frame, e.g. `frames:tiny_vit`, and a temporal transformer or mean",
        weights="of the image encoder",
        form="frames:IMAGE",
        wraps="image",
    ),
    Declaration(
        modality="video",
        name="cross_frame",
        make="accord.encoders.cross_frame:build_cross_frame",
        config="accord.encoders.cross_frame:CrossFrameConfig",
        gives=frozenset({"pooled", "tokens", "frames", "patches"}),
        about="CLIP's image tower whose frames exchange messages, and a transformer over them: those of X-CLIP",
    ),
    Declaration(
        modality="video",
        name="cross_frame:",
        make="accord.encoders.cross_frame:build_cross_frame",
        config="accord.encoders.cross_frame:CrossFrameConfig",
        gives=frozenset({"pooled", "tokens", "frames", "patches"}),
        about="the same, started from a CLIP that transformers saved; messages and transformer are new",
        weights="of that CLIP",
        form="cross_frame:clip:FOLDER",
    ),
    Declaration(
        modality="video",
        name="alignment",
        make="accord.encoders.alignment:build_alignment",
        config="accord.encoders.alignment:AlignmentConfig",
        gives=frozenset({"pooled", "tokens", "frames", "patches", "alignment", "windows"}),
        about="CLIP's image tower that aligns neighbouring frames, and a transformer over them: those of ILA",
    ),
    Declaration(
        modality="video",
        name="alignment:",
        make="accord.encoders.alignment:build_alignment",
        config="accord.encoders.alignment:AlignmentConfig",
        gives=frozenset({"pooled", "tokens", "frames", "patches", "alignment", "windows"}),
        about="the same, started from a CLIP that transformers saved; alignment and transformer are new",
        weights="of that CLIP",
        form="alignment:clip:FOLDER",
    ),
    Declaration(
        modality="video",
        name="video_mae",
        make="accord.encoders.masked:build_video_mae",
        config="accord.encoders.masked:VideoMaeConfig",
        gives=_CLIPS | {"layers", "visible"},
        about="vision transformer over tubelets, likewise",
    ),
    *(
        Declaration(
            modality="video",
            name=f"{kind}:",
            make=f"accord.encoders.transformers_video:build_{kind}",
            config="accord.encoders.transformers_video:FolderConfig",
            gives=_CLIPS | layers,
            about=f"{what} that transformers saved",
            weights="itself",
            form=f"{kind}:FOLDER, {kind}:hf:NAME",
        )
        for kind, what, layers in (
            ("videomae", "a VideoMAE", {"layers"}),
            ("xclip", "the clip tower of an X-CLIP", set()),
        )
    ),
    Declaration(
        modality="video",
        name="windows:",
        make="accord.encoders.windows:build_video_windows",
        config="accord.encoders.windows:VideoWindowsConfig",
        gives=_WINDOWS,
        about="any encoder of clips over a sliding window of frames, e.g. `windows:frames:tiny_vit`",
        weights="of the window's encoder",
        form="windows:VIDEO",
        wraps="of",
    ),
    Declaration(
        modality="audio",
        name="tiny_audio",
        make=_AUDIO.format("build_tiny_audio"),
        config=_AUDIO.format("TinyAudioConfig"),
        gives=_STEPS,
        about="log-mel spectrogram, convolutions, small transformer",
    ),
    Declaration(
        modality="audio",
        name="whisper_tiny",
        make=_AUDIO.format("build_whisper"),
        config=_AUDIO.format("WhisperConfig"),
        gives=_STEPS,
        about="the encoder half of Whisper-tiny (English), 8 M parameters, 384 dimensions",
        weights="hub, or extra `speech`",
    ),
    Declaration(
        modality="audio",
        name="whisper:",
        make=_AUDIO.format("build_whisper"),
        config=_AUDIO.format("WhisperConfig"),
        gives=_STEPS,
        about="the encoder half of a Whisper model, as transformers or CTranslate2 saved it",
        weights="itself",
        form="whisper:FOLDER, whisper:hf:NAME",
    ),
    Declaration(
        modality="sequence",
        name="tiny_sequence",
        make="accord.encoders.sequence:build_tiny_sequence",
        config="accord.encoders.sequence:TinySequenceConfig",
        gives=_STEPS,
        about="small transformer over precomputed features of steps",
        describe="accord.encoders.sequence:describe_steps",
    ),
    Declaration(
        modality="sequence",
        name="step_projection",
        make="accord.encoders.sequence:build_step_projection",
        config="accord.encoders.sequence:StepProjectionConfig",
        gives=_STEPS - {"layers"},
        about="one linear layer on each step of precomputed features",
        describe="accord.encoders.sequence:describe_steps",
    ),
    Declaration(
        modality="sequence",
        name="steps",
        make="accord.encoders.steps:build_steps",
        config="accord.encoders.steps:StepsConfig",
        gives=_WINDOWS,
        about="precomputed features as they are, or the mix of two streams of them",
        describe="accord.encoders.sequence:describe_steps",
    ),
    Declaration(
        modality="sequence",
        name="windows:",
        make="accord.encoders.windows:build_windows",
        config="accord.encoders.windows:WindowsConfig",
        gives=_WINDOWS,
        about="any encoder of sequences over a sliding window, e.g. `windows:tiny_sequence`",
        form="windows:SEQUENCE",
        wraps="of",
        describe="accord.encoders.windows:describe_windows",
    ),
    Declaration(
        modality="graph",
        name="hetero",
        make="accord.encoders.graph:build_hetero",
        config="accord.encoders.graph:HeteroConfig",
        gives=frozenset({"pooled"}),
        about="heterogeneous graph network (extra `graph`)",
        describe="accord.encoders.graph:describe_graph",
    ),
    Declaration(
        modality="graph",
        name="metapath",
        make="accord.encoders.metapath:build_metapath",
        config="accord.encoders.metapath:MetaPathConfig",
        gives=frozenset({"pooled", "metapaths"}),
        about="graph network over meta-paths, that of MEOW (extra `graph`)",
        describe="accord.encoders.metapath:describe_metapaths",
    ),
)


def modalities() -> list[str]:
    """What there are encoders for, in alphabetical order.

    >>> modalities()
    ['audio', 'graph', 'image', 'sequence', 'text', 'video']
    """
    return sorted({*(one.modality for one in DECLARATIONS), *main_fields()})


def declared(modality: str) -> list[Declaration]:
    """The encoders of a modality, those of other packages not among them."""
    return [one for one in DECLARATIONS if one.modality == modality]


def find(modality: str, name: str) -> Declaration | None:
    """The encoder of that name; None where no declaration knows it.

    >>> find("video", "frames:resnet18").name
    'frames:'
    """
    named = (one for one in declared(modality) if one.name and one.fits(name))
    asked = (one for one in declared(modality) if one.knows and load(one.knows)(name))
    return next(named, None) or next(asked, None)


def encoder_names(modality: str) -> list[str]:
    """The names that a modality's encoders have of their own, and those of other packages' encoders.

    >>> {"minilm", "tiny_text"} <= set(encoder_names("text"))
    True
    """
    own = [one.name for one in declared(modality) if one.name and not one.name.endswith(":")]
    return [*own, *plugin_names("encoders")]


def unknown(modality: str, name: str, further: Iterable[str] = ()) -> str:
    """The sentence for a name that no encoder has.

    Args:
        modality: of the encoder.
        name: what came.
        further: names that may be meant, beside those of :func:`encoder_names`.

    Example:
        >>> unknown("graph", "heteros")
        "no graph encoder 'heteros'; did you mean hetero? There are: hetero, metapath"
    """
    near = did_you_mean(name, [*encoder_names(modality), *further])
    forms = [*(one.written for one in declared(modality)), *plugin_names("encoders")]
    return f"no {modality} encoder {name!r}{near}{' There' if near else '; there'} are: {', '.join(forms)}"


def giving(modality: str, wanted: Collection[str]) -> list[str]:
    """Names of the encoders of a modality that give all of this with their usual settings.

    >>> "tiny_vit" in giving("image", {"pooled", "layers"})
    True
    """
    return [one.name for one in declared(modality) if one.name in encoder_names(modality) and one.gives >= set(wanted)]


def starts_at_random(spec: Mapping[str, Any]) -> bool:
    """Whether an encoder of this name and these options has no weights to find.

    >>> starts_at_random({"name": "tiny_vit"}), starts_at_random({"name": "frames:resnet18"})
    (True, False)
    """
    name = str(spec["name"])
    found = next((one for one in DECLARATIONS if one.name and one.fits(name)), None)
    if found is None or not found.wraps:
        return found is not None and found.weights is None
    inner = spec.get(found.wraps) or name.removeprefix(found.name)
    held = dict(inner) if isinstance(inner, Mapping) else {"name": inner}
    held.setdefault("name", name.removeprefix(found.name))  # the option may hold settings alone
    return held["name"] == name or starts_at_random(held)


def load(place: str) -> Any:
    """What ``MODULE:NAME`` stands for.

    >>> load("math:tau") > 6
    True
    """
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
