"""From images to quantization ranges: histograms of every tensor, and calibrators that read a range from them."""
