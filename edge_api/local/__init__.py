"""A whole Supabase on 127.0.0.1 from Python and npm packages alone, for development and tests. Linux and macOS."""

from typing import Final

# Tells the page the database's address, without the password. Here, because importing api imports the web framework.
DATABASE_ADDRESS: Final = "PAGE_DATABASE_ADDRESS"
