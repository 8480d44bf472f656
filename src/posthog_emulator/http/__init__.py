"""From bytes to an answer: routing, reading, authorising, recording, and the ways in."""
