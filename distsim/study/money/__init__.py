"""What training costs: money, energy and CO2, and what to train for a budget."""
