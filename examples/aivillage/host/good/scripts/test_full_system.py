"""One question from a user's side to the whole village, through nginx."""

import json
import time
import urllib.request

QUESTION = {"query": "test rollback system", "user_id": "rollback_test"}
request = urllib.request.Request(
    "http://127.0.0.1/api/query", json.dumps(QUESTION).encode(), {"Content-Type": "application/json"}
)
began = time.perf_counter()
with urllib.request.urlopen(request, timeout=10) as answer:
    said = json.load(answer)
took = time.perf_counter() - began
assert "rollback brings back" in said["answer"], said
assert took < 2, f"it took {took:.2f} s"
print(f"FULL SYSTEM OK: {said['agent']} answered in {took:.2f} s over {said['hops']} hop")
