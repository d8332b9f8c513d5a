"""A run given to others: one archive, and predictions and explanations of new rows."""
