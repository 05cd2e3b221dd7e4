"""Bytes and files of images in, pixels out. Knows no label and no raw dataset."""
