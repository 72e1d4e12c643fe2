"""The forms in which models come in, a file each."""
