"""Tables of labelled images: bytes in, the label of each file out."""
