"""MS COCO 2017."""
