//! What every AWS adapter of nuages shares: credentials, endpoints, retries, error description, polling.
