"""What can be proved about a chain of privatizers: bounds on any attacker."""
