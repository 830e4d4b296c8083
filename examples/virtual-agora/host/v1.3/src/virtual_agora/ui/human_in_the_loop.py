"""What a person is asked."""

APPROVALS = ("topic", "continuation", "report", "periodic_stop", "topic_override", "agent_poll_override")
