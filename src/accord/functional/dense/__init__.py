"""Cells of feature maps: where they lie, what agrees between crops, how they group into slots, windows around them."""

from accord.functional.dense.geometry import (
    crop_cell_centers,
    crop_params,
    flipped_coord,
    hflip_box,
    inverse_augment,
    nonempty_boxes,
    overlap_boxes,
    pixel_distance,
    pixel_positive_mask,
)
from accord.functional.dense.losses import grid_pool, local_global_nce, pixcontrast_loss, pixel_propagation, pixpro_loss
from accord.functional.dense.slots import (
    active_slots,
    assign_pixels,
    semantic_grouping,
    slot_contrast,
    slotcon_loss,
    soft_distillation,
)
from accord.functional.dense.windows import merge_pairs, neighbour_average, pair_cosine_loss, soft_window

__all__ = [
    "active_slots",
    "assign_pixels",
    "crop_cell_centers",
    "crop_params",
    "flipped_coord",
    "grid_pool",
    "hflip_box",
    "inverse_augment",
    "local_global_nce",
    "merge_pairs",
    "neighbour_average",
    "nonempty_boxes",
    "overlap_boxes",
    "pair_cosine_loss",
    "pixcontrast_loss",
    "pixel_distance",
    "pixel_positive_mask",
    "pixel_propagation",
    "pixpro_loss",
    "semantic_grouping",
    "slot_contrast",
    "slotcon_loss",
    "soft_distillation",
    "soft_window",
]
