"""salience: train a network, explain it, measure the explanations."""
