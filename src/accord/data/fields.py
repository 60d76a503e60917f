"""Every column that a row may have, declared once: its field, what it means, names by which it is guessed, its option.

``accord.data.Columns``, the guess, the options of the command line (``--image COL``) and the documentation are made
of these declarations. A column is either a *medium*, read by the modality that it names
(:mod:`accord.data.modalities`), or something said about the row. Nothing heavy is imported here: the command line
reads it before it knows what is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from accord.plugins import plugin_names


@dataclass(frozen=True)
class Declaration:
    """One column.

    Args:
        field: its name in ``data.columns``, as option (``--FIELD COL``) and, for media, in a batch.
        about: what its cells hold; documentation of ``data.columns.FIELD``.
        help: of the option.
        modality: which modality reads its cells; None for what is said about the row. A field called otherwise than
            its modality plays a part beside it, such as a second picture.
        names: what people call such a column, best first; in lower case, without ``_path`` and the like.
        kinds: kinds of column (:func:`accord.data.columns.kind_of`) that it is guessed from.
        named_kinds: further kinds, where the name is one of ``names``.
        surest: the kind that is taken before all others, whatever its name.
        whatever_name: the first column of a fitting kind is taken where none has a usual name.
        early: guessed before the others: its cells look like those of other fields, and only its name tells.
        several: it takes more than one column.
        file: what a file of it is called, where one can be searched by.
        files: its cells are paths or encoded contents.
        encoder: a name of an encoder for it, in the help of ``--FIELD-encoder``; empty where only other packages have
            some, None where the rows decide.
    """

    field: str
    about: str
    help: str
    modality: str | None = None
    names: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    named_kinds: tuple[str, ...] = ()
    surest: str | None = None
    whatever_name: bool = False
    early: bool = False
    several: bool = False
    file: str = ""
    files: bool = False
    encoder: str | None = None

    @property
    def option(self) -> str:
        """Its option on the command line.

        >>> declared("track_ids").option
        '--track-ids'
        """
        return f"--{self.field.replace('_', '-')}"

    @property
    def medium(self) -> bool:
        """Whether its modality decodes each cell."""
        return self.modality is not None and self.files

    @property
    def main(self) -> bool:
        """Whether it is the column of its modality, not one beside it."""
        return self.field == self.modality


_DECLARED = (
    Declaration(
        "image",
        "images: paths or encoded bytes",
        "Image column.",
        modality="image",
        file="picture",
        names=("image", "img", "picture", "photo", "jpg", "png", "jpeg", "webp", "icon", "file", "filename"),
        kinds=("image",),
        whatever_name=True,
        files=True,
        encoder="efficientnet_lite0",
    ),
    Declaration(
        "text",
        "captions: one or several columns, or a column of lists",
        "Text column; repeat for several captions.",
        modality="text",
        names=tuple(
            "text caption captions texts sentence description alt_text alt title txt prompt summary name tags "  # noqa: SIM905
            "keywords".split()
        ),
        kinds=("text", "texts"),
        several=True,
        encoder="minilm",
    ),
    Declaration(
        "video",
        "clips: a file, its bytes, or a folder of frames",
        "Video column.",
        modality="video",
        file="clip",
        names=("video", "clip", "mp4", "frames", "animation"),
        kinds=("video",),
        named_kinds=("image", "text", "texts"),  # an animation, a folder, a list of pictures
        whatever_name=True,
        early=True,
        files=True,
        encoder="frames:tiny_vit",
    ),
    Declaration(
        "audio",
        "recordings: paths or encoded bytes",
        "Audio column.",
        modality="audio",
        file="recording",
        names=("audio", "sound", "speech", "wav", "flac", "ogg", "mp3", "file", "filename"),
        kinds=("audio",),
        whatever_name=True,
        files=True,
        encoder="tiny_audio",
    ),
    Declaration(
        "label",
        "class: a name, a number, or a list of them",
        "Label column; none for no labels.",
        names=("label", "labels", "class", "category", "categories", "target", "cls", "classes", "y"),
        kinds=("class", "text", "texts", "number", "numbers"),
        surest="class",
    ),
    Declaration(
        "group",
        "rows of one group are never split between training and test",
        "Rows of one group stay in one split.",
        names=("group", "concept", "group_id", "concept_id"),
        kinds=("class", "text", "number"),
    ),
    Declaration(
        "mask",
        "masks: pictures whose grey values are classes, 255 where nothing is said",
        "Mask column.",
        names=("mask", "masks", "segmentation", "label_map", "annotation"),
        named_kinds=("image",),
        early=True,
        files=True,
    ),
    Declaration(
        "graph",
        "columns that name what a row is linked to, such as authors: node types of a graph",
        "Column that names what a row is linked to (authors, tags): a graph's nodes; repeatable.",
        modality="graph",  # every list of names could be one: it is asked for
        several=True,
    ),
    Declaration(
        "sequence",
        "precomputed features of the steps of something: a .npy file of shape (T, F), or a list of lists of numbers",
        "Column of precomputed features, a .npy file or a list of lists of numbers a row.",
        modality="sequence",
        file=".npy file",
        names=("sequence", "sequences", "features", "feature", "snippets", "poses"),
        named_kinds=("sequence", "vectors"),  # arrays hold other things too, such as one vector a row
        files=True,
        encoder="tiny_sequence",
    ),
    Declaration(
        "reference",
        "second pictures, beside image: what a picture is compared with or made from",
        "Column of reference pictures, beside --image.",
        modality="image",
        names=("reference", "reference_image"),
        named_kinds=("image",),
        files=True,
    ),
    Declaration(
        "second_sequence",
        "precomputed features of another sensor, beside sequence: as there",
        "Column of a second sequence, such as sound beside pictures.",
        modality="sequence",
        names=("second_sequence", "audio_features", "sound_features", "vggish", "other_features"),
        named_kinds=("sequence", "vectors"),
        files=True,
        encoder="tiny_sequence",
    ),
    # What follows is guessed only for a method that learns from it: lists of numbers may be anything, and who does not
    # need them should lose no rows over them.
    Declaration(
        "input_text",
        "what is said or asked beside a picture: a question, a hypothesis, an article",
        "Column of questions or other texts beside the picture.",
        modality="text",
        names=("input_text", "question", "hypothesis", "article"),
    ),
    Declaration(
        "answers",
        "texts to be written for a row, such as all answers to its question: columns, or a column of lists",
        "Column of answers; repeat for several.",
        modality="text",
        names=("answers", "answer"),
        several=True,
    ),
    Declaration(
        "boxes",
        "boxes in the picture: a list of four numbers each, see data.box_format",
        "Column of boxes.",
        names=("boxes", "bboxes", "bbox", "box"),
    ),
    Declaration(
        "instances",
        "masks of things: a picture that numbers them from 1, or a list of pictures, one a thing",
        "Column of masks of things.",
        names=("instances", "instance", "instance_masks"),
        files=True,
    ),
    Declaration(
        "tracks",
        "boxes in a clip: a list of frames, each a list of boxes, null where a thing is not seen",
        "Column of boxes in each frame of a clip.",
        names=("tracks", "track", "track_boxes"),
    ),
    Declaration(
        "track_ids",
        "numbers of the things in tracks: a list of frames, each a list of numbers; else its place tells a thing",
        "Column of the numbers of things in --tracks.",
        names=("track_ids", "track_id"),
    ),
    Declaration(
        "track_masks",
        "masks of things in a clip: a folder, or list, of pictures that number them from 1, one a frame",
        "Column of masks of things in each frame of a clip.",
        names=("track_masks", "track_mask"),
        files=True,
    ),
    Declaration(
        "instance_label",
        "classes of the things in boxes, instances or tracks: a list of names or numbers",
        "Column of the classes of the things in a row.",
        names=("instance_label", "instance_labels", "box_labels", "kinds"),
    ),
    Declaration(
        "instance_text",
        "phrases for the things in boxes, instances or tracks: a list of texts",
        "Column of phrases for the things in a row.",
        names=("instance_text", "instance_texts", "phrases", "names"),
    ),
    Declaration(
        "moments",
        "spans of time: a list of starts and ends in seconds",
        "Column of moments.",
        names=("moments", "moment", "timestamps", "spans"),
    ),
    Declaration(
        "moment_text",
        "what happens in each moment: a list of sentences",
        "Column of sentences on --moments.",
        names=("moment_text", "moment_texts", "sentences"),
    ),
    Declaration(
        "duration",
        "how long the whole lasts, in seconds",
        "Column of seconds that --moments are in.",
        names=("duration", "seconds", "length"),
    ),
    Declaration(
        "hard_text",
        "a text that is like the row's and means something else, such as its contradiction",
        "Column of hard negatives of --text.",
        names=("hard_text", "hard_negative", "hard_neg", "contradiction", "negative"),
    ),
    Declaration(
        "counterfactuals",
        "altered captions, which are like the row's and not true of it: a list of texts",
        "Column of altered captions.",
        names=("counterfactuals", "counterfactual", "altered_captions", "altered", "hard_captions"),
    ),
    Declaration(
        "counterfactual_of",
        "the caption that was altered, where rows have several",
        "Column of the captions that were altered.",
        names=("counterfactual_of",),
    ),
    Declaration(
        "counterfactual_similarity",
        "how alike each of counterfactuals and the caption are in meaning, at most 1: a list of numbers",
        "Column of how alike each altered caption and the caption are.",
        names=("counterfactual_similarity", "counterfactual_similarities"),
    ),
    Declaration(
        "counterfactual_kind",
        "what was altered in each of counterfactuals, such as action or object: a list of words",
        "Column of what was altered in each altered caption.",
        names=("counterfactual_kind", "counterfactual_kinds"),
    ),
    Declaration(
        "text_pair",
        "a second text, which the row's is compared with",
        "Column of texts that those of --text are compared with.",
        names=("text_pair", "sentence2", "sentence_2", "text2", "text_2"),
    ),
    Declaration(
        "score",
        "how alike text and text_pair are, in any unit",
        "Column of how alike --text and --text-pair are.",
        names=("score", "similarity", "similarity_score", "relatedness_score"),
    ),
    Declaration(
        "subset",
        "which part of a benchmark a pair of texts is of",
        "Column that names the part of a benchmark that a pair of texts is of.",
        names=("subset",),
    ),
    Declaration(
        "role",
        "query, support, target or reference: a row's part among others",
        "Column of roles.",
        names=("role", "roles"),
    ),
    Declaration(
        "dataset",
        "the data set that a row is of, where one table holds several, for methods that draw them in shares",
        "Column that names the data set of each row, of several in one table.",
    ),
)


@cache
def declarations() -> dict[str, Declaration]:
    """Field -> declaration, those of modalities from other packages last.

    >>> [field for field, declared in declarations().items() if declared.modality == "image"]
    ['image', 'reference']
    """
    return {declared.field: declared for declared in (*_DECLARED, *_of_plugins())}


def declared(field: str) -> Declaration:
    """The declaration of a field; KeyError where there is none."""
    return declarations()[field]


def main_fields() -> tuple[str, ...]:
    """The fields that stand for a modality, and are called like it.

    >>> {"image", "text"} <= set(main_fields()), "reference" in main_fields()
    (True, False)
    """
    return tuple(field for field, declared in declarations().items() if declared.main)


def encoded_fields() -> tuple[str, ...]:
    """The fields that may have an encoder: those that stand for a modality, and some beside them.

    >>> "image" in encoded_fields(), "second_sequence" in encoded_fields(), "reference" in encoded_fields()
    (True, True, False)
    """
    return tuple(field for field, declared in declarations().items() if declared.main or declared.encoder)


def read_by(field: str) -> str:
    """The modality that reads a field; the name itself where it is no field.

    >>> read_by("second_sequence"), read_by("image")
    ('sequence', 'image')
    """
    found = declarations().get(field)
    return (found and found.modality) or field


def text_fields() -> tuple[str, ...]:
    """The fields whose cells are texts.

    >>> text_fields()
    ('text', 'input_text', 'answers')
    """
    return tuple(field for field, declared in declarations().items() if declared.modality == "text")


def _of_plugins() -> Iterator[Declaration]:
    """A column for each modality of another package, known by its name alone until it is used."""
    own = {declared.field for declared in _DECLARED}
    for name in plugin_names("modalities"):
        if name not in own:
            about, option = f"{name}: what an installed package reads", f"Column of {name}."
            yield Declaration(
                name,
                about,
                option,
                modality=name,
                names=(name,),
                kinds=(name,),
                whatever_name=True,
                files=True,
                encoder="",
            )
