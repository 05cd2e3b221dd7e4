"""Files of images in, pixels out."""
