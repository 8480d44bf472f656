"""asyncposthog."""
