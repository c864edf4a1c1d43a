"""The client's side: submit functions, get futures."""
