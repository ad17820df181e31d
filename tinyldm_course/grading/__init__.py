"""Grading: the checks of the course, on functions that nobody trusts.

    collecting.py    who handed in what: each student's files, however they are named
    submissions.py   what is in a file: its code cells, read before any of them runs; what looks borrowed
    wire.py          Calls and Outcomes as bytes: JSON and safetensors, size-capped, never pickle
    limits.py        what a process takes from itself: memory, time, files, processes, writing (Landlock)
    child.py         the process in which one student's code runs
    sandbox.py       the same process from outside: start, ask, wait, kill
    isolation.py     what this machine offers to keep that process in: bubblewrap, Landlock, or neither
    marking.py       one submission: run it, judge it, say what to look at
    journal.py       the results so far, on the disk: a grader that is killed goes on where it was
    classroom.py     all submissions, on several cores; one that kills its grader stops no other
    reports.py       the CSV and a page for each student

The student's functions are in the child; the tests, the right answers and the verdict are here, in the parent. What
comes back from a child is a value or the claim that there is none. A value earns marks only by being right on inputs
that the child had never seen, so there is no claim that is worth forging.
"""
