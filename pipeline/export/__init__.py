"""A checkpoint in; its model in another format out, with what it takes to use it without this project."""
