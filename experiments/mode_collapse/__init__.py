"""Remedies for mode collapse side by side: methods, data sets and reports in one file each."""
