"""One adapter per system and kind of use. Each uses its system as that system's own documentation advises."""
