"""Pure loss functions, one file a family; no mean, mask or weight inside."""
