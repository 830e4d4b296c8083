"""The agents: each has a skill, and remembers its talks in the database `aivillage`."""

import subprocess

from core.common.service import Service
from core.common.settings import database, environment


class Nexus:
    """The village's database, asked with the system's own client."""

    def __init__(self):
        self.config = database()

    def ask(self, sql, **values):
        words = ["psql", "-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1", "-d", self.config["database"]]
        for name, value in values.items():
            words += ["-v", f"{name}={value}"]
        done = subprocess.run(words, input=sql, capture_output=True, text=True, timeout=10, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or f"psql ended with {done.returncode}")
        return done.stdout.strip()

    def check_schema(self):
        found = self.ask("select max(version) from schema_version")
        if int(found) != self.config["schema_version"]:
            raise RuntimeError(f"the database has schema {found}, wanted is {self.config['schema_version']}")


def main():
    nexus = Nexus()
    nexus.check_schema()
    version = environment()["AIVILLAGE_VERSION"]
    app = Service("agents", 8002)

    @app.route("GET", "/health")
    def health(_):
        count = int(nexus.ask("select count(*) from agents"))
        return {"status": "ok", "service": "agents", "version": version, "agents": count}

    @app.route("POST", "/answer")
    def answer(asked):
        agent = nexus.ask("select name from agents order by length(skill), name limit 1")
        if asked["remember"]:
            sql = "insert into conversations (agent, question) select id, :'question' from agents where name = :'agent'"
            nexus.ask(sql, question=asked["query"], agent=agent)
        return {"agent": agent, "answer": f"{agent} says: {asked['fact']}"}

    app.serve()


if __name__ == "__main__":
    main()
