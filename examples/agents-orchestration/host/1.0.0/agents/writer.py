"""Writes about a task."""


def write(task):
    return f"{task.split(':', 1)[-1].strip().capitalize()}."
