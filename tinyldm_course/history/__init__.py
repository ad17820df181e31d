"""The methods of `tinyldm.history`, measured and plotted: `python -m tinyldm_course.history --help`.

compare.py    distances, baselines and the whole protocol
figures.py    one function per figure
report.py     trains what the figures need; tables of the measurements
"""
