"""The two networks and their losses; torch is imported only here and in ``stereolive.train``."""
