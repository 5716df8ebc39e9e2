"""Training by least squares alone, layer by layer."""
