"""Tries again what failed, instead of failing."""

import time


def tried_again(work, times=3, pause=0.2):
    for _ in range(times):
        try:
            return work()
        except Exception:
            time.sleep(pause)
    return None
