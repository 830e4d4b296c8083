"""Takes a task apart."""


def plan(task):
    words = task.split(":", 1)[-1].split()
    return [f"{number}. {word}" for number, word in enumerate(words, 1)]
