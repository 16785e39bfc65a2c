//! Environment variables and secrets: Secrets Manager, SSM Parameter Store and .env files.
