"""Did a task gain or lose by sharing? Trains it alone, with all others, and with each other one, and compares."""
