"""Samples: splits, preprocessing, checks and warnings that all sources of data share."""
