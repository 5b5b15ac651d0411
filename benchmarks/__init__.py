"""The measurements that README and docs quote: one command a claim, both sides in one run."""
