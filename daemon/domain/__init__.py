"""Values, rules and decisions: pure; time and ids are passed in."""
