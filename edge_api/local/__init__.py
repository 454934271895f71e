"""A whole Supabase on 127.0.0.1 from Python and npm packages alone, for development and tests. Linux and macOS."""
