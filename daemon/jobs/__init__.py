"""Long work, run in workers: it reports every step to the bus and waits for the commit where a rule asks for it."""
