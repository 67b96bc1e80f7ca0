"""The page of a comparison: boxes on images, plots, HTML."""
