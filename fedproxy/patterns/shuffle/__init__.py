"""An all-to-all exchange through stores: blocks of segments, one per map attempt, fetched in ranges and merged within a bound of memory."""
