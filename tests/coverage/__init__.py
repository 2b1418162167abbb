"""What covers the lists of checks."""
