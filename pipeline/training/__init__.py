"""Which run comes next, and training it."""
