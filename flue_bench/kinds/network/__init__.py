"""The half of each kind of task that needs torch, in a file of the same name as the other half."""
