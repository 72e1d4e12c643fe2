"""What serves a board: what it is, the files pushed to it, the runtime brought along."""
