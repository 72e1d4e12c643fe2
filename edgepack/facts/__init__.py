"""Facts about a board: a file for each, with a pure `command` and `parse`."""
