"""The cures for mode collapse side by side: a method, a data set and a report in a file each."""
