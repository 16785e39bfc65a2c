//! Maps a nuages.toml to the adapters and joins them into one deployment.
