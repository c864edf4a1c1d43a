"""What third parties need to test their own connectors against our contracts."""
