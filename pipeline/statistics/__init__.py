"""How sure a figure is, and what may be said of two; knows no file and no run."""
