"""Full disks under every command that writes."""
