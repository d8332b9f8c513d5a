"""Many runs: jobs in processes of their own, here or on other machines, and the search over settings."""
