"""Reports on one topic."""


class TopicReportAgent:
    def report(self, topic, summaries):
        return f"# {topic}\n\n" + "\n".join(summaries)
