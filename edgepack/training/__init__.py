"""The training loop, what it minimizes, and the structure that it keeps."""
