"""A dropped folder in; arrays and problems out. No TensorFlow."""
