"""Many runs in one table: records, leaderboards, ranks, and what may be said about them."""
