"""The ways to show results, a file each."""
