"""People who ask for the next topic all day, ten times a second."""

import concurrent.futures
import time
import urllib.error
import urllib.request


def ask():
    try:
        urllib.request.urlopen("http://127.0.0.1/topics/next", timeout=10).read()
    except OSError:
        pass


with concurrent.futures.ThreadPoolExecutor(20) as people:
    while True:
        people.submit(ask)
        time.sleep(0.1)
