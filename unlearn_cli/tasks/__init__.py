"""What a label is: its loss, what is correct, what is still known, what a wrong label is. One file per kind of label.

Methods and metrics ask the task instead of knowing; a task knows the request, since what is to vanish depends on both.
"""
