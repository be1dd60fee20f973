"""Orders, transfers, augments and resizes the images that a network trains on."""
