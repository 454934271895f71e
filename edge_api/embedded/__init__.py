"""PostgreSQL and processes from packages: what the development stack and `edge-api verify` share."""
