"""Messages to the user, whole files, TOML tables, versions of frameworks."""
