"""What knows neither runs nor music: messages to the user, TOML tables, versions of frameworks."""
