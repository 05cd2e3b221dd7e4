"""What a fit needs beside Keras: checks of what a model gives, in NumPy alone."""
