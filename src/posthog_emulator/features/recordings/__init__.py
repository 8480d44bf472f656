"""Session recordings: made from snapshots, listed, watched, and collected in playlists."""
