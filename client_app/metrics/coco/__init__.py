"""Metrics of COCO's object tasks: average precision of masks, boxes and keypoints, and panoptic quality."""
