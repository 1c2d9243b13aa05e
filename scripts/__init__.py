"""The commands: each a thin `main()` over the packages."""
