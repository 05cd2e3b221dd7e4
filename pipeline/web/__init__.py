"""The page: puts things in, and shows what the stages write."""
