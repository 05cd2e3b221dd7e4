"""What a fit needs beside Keras: its batches, and whether outputs are probabilities."""
