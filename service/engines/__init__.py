"""What runs the network: engines, which of them serves, and what answers where one fails."""
