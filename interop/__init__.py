"""Other people's programs on our environments: gymnasium's doors, and glue for libraries (docs/interop.md)."""
