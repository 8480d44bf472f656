"""What the emulator does beyond plain CRUD, a package or module for each PostHog feature."""
