"""What makes a script a long-running stage. Knows no image and no model."""
