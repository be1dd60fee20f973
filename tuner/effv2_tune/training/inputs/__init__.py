"""How images reach the network: order, transfer to the device, augmentation, resizing."""
