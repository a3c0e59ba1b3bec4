"""What tokd is installed with: asked about (make audit) and listed (make sbom)."""
