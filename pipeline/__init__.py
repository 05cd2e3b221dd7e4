"""The parts that the scripts at the top are put together from."""
