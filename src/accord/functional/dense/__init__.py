"""Cells of feature maps: where they lie in the picture, what agrees between crops, how they group into slots;
and what is hidden of them."""

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
from accord.functional.dense.mae import (
    masked_mse,
    patch_statistics,
    patchify,
    predicted_frames,
    random_masking,
    slot_pool,
    unpatchify,
)
from accord.functional.dense.slots import (
    active_slots,
    assign_pixels,
    semantic_grouping,
    slot_contrast,
    slotcon_loss,
    soft_distillation,
)

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
    "masked_mse",
    "nonempty_boxes",
    "overlap_boxes",
    "patch_statistics",
    "patchify",
    "pixcontrast_loss",
    "pixel_distance",
    "pixel_positive_mask",
    "pixel_propagation",
    "pixpro_loss",
    "predicted_frames",
    "random_masking",
    "semantic_grouping",
    "slot_contrast",
    "slot_pool",
    "slotcon_loss",
    "soft_distillation",
    "unpatchify",
]
