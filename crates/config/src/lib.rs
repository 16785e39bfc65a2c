//! nuages.toml: from text with spans to a validated configuration.
