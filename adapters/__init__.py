"""How tokd touches the world: one package for each foreign system, each knowing only ports and domain."""
