"""Cells of maps: where they lie in picture or time, what agrees between crops, how they group into slots."""

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
from accord.functional.dense.moments import (
    moment_iou_map,
    moment_lengths,
    scaled_iou_bce,
    sparse_moment_mask,
    temporal_iou,
    temporal_nms,
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
    "moment_iou_map",
    "moment_lengths",
    "nonempty_boxes",
    "overlap_boxes",
    "pixcontrast_loss",
    "pixel_distance",
    "pixel_positive_mask",
    "pixel_propagation",
    "pixpro_loss",
    "scaled_iou_bce",
    "semantic_grouping",
    "slot_contrast",
    "slotcon_loss",
    "soft_distillation",
    "sparse_moment_mask",
    "temporal_iou",
    "temporal_nms",
]
