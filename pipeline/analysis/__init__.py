"""A checkpoint in; metrics, ranking and pictures out."""
