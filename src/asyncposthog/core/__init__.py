"""One call, from the generated method to the decoded result."""
