"""Deep models as named stages that can be cut anywhere."""
