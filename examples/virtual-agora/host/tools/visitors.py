"""People who ask for the next topic all day, ten times a second; counts what they are answered."""

import collections
import concurrent.futures
import json
import os
import time
import urllib.error
import urllib.request

SEEN = "/run/agora-visitors/answers.json"
answers = collections.Counter()


def ask():
    try:
        with urllib.request.urlopen("http://127.0.0.1/topics/next", timeout=10) as answer:
            answers[str(answer.status)] += 1
    except urllib.error.HTTPError as refused:
        answers[str(refused.code)] += 1
    except OSError as cause:
        answers[type(cause).__name__] += 1


with concurrent.futures.ThreadPoolExecutor(20) as people:
    while True:
        for _ in range(10):
            people.submit(ask)
            time.sleep(0.1)
        with open(f"{SEEN}.new", "w", encoding="utf-8") as file:
            json.dump(dict(answers), file)
        os.replace(f"{SEEN}.new", SEEN)
