"""The places that data comes from, a file each."""
