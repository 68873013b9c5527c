"""Results as text, JSON and traces: everything here returns, nothing prints or writes files."""
