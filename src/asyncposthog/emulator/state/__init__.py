"""All that an emulator knows: held, saved, and put forward in time."""
