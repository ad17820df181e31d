"""Grading: the checks of the course, on functions that nobody trusts.

    collecting.py    who handed in what: each student's files, however they are named
    submissions.py   what is in a file: its code cells, as they are
    source.py        what looks copied or unusual in them; in a process of its own
    wire.py          Calls and Outcomes as bytes: JSON and safetensors, size-capped, never pickle
    limits.py        what a process may use: memory, time, files, processes
    kernel.py        what Linux lets a process give up: files, system calls, rights
    seccomp.py       which system calls remain
    confine.py       a process raises its walls, and only then meets what a student wrote
    child.py         the process in which one student's code runs
    processes.py     other processes: what they use, how to end them all
    isolation.py     the walls that there are: bubblewrap, another user, none
    warm.py          processes that need not import PyTorch; forking.py is where they come from
    sandbox.py       a student's process from outside: start, ask, wait, kill
    probes.py        does each wall hold? attacks.py tries
    session.py       a notebook in a sandbox, restarted when it dies
    right.py         what the right answers give, once for a class
    judging.py       one exercise: the check, twice
    marking.py       one submission: run it, judge it, say what to review
    journal.py       the results so far, on the disk: a grader that is killed resumes where it was
    classroom.py     all submissions, on several cores; one that kills its grader does not stop the others
    reports.py       the CSV and a page for each student
    gradescope.py    results as Gradescope shows them; gradebooks.py: as Canvas and Moodle import them
    export.py        files for the systems of a school

The student's functions are in the child; the tests, the right answers and the verdict are here, in the parent. What
comes back from a child is a value or the claim that there is none. A value earns marks only by being right on inputs
that the child had never seen, so there is no claim that is worth forging.
"""
