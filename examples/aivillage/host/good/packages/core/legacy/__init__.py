"""What older services still import."""
