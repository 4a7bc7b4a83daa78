"""The half of each kind of task that needs torch, under the file name of the other half."""
