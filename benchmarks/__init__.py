"""The measurements that the README and docs quote, each one command."""
