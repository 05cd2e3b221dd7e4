"""New images in; the class of each out, by the best checkpoint."""
