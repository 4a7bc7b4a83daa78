"""Speed and scores beside other tools."""
