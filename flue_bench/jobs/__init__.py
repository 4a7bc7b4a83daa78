"""Jobs that take minutes or days: cells and grids, reruns, speed, audits, the doctor."""
