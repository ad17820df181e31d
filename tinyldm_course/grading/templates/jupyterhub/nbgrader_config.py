"""nbgrader in every container: where notebooks are handed out and handed in.

nbgrader's own `autograde` runs a student's code as the user who calls it. So collect with `nbgrader collect`, and grade
with `tinyldm grade submitted`, which keeps it apart.
"""

c = get_config()  # noqa: F821 - nbgrader defines it

c.CourseDirectory.course_id = "tinyldm"
c.Exchange.root = "/srv/nbgrader/exchange"
c.Exchange.path_includes_course = False
