"""Ranges from data: streaming histograms of |x|, and calibrators that choose the magnitude to represent."""
