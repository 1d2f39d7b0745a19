"""What happens to a feature between the device and the wire."""
