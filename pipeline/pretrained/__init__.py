"""Weights that were trained elsewhere: found, checked and read without the library that wrote them."""
