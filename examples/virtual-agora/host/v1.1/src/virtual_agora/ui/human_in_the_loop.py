"""What a person is asked."""

APPROVALS = ("topic", "continuation", "report")
