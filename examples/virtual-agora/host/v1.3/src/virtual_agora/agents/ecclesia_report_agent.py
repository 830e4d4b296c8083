"""Reports on the whole assembly."""


class EcclesiaReportAgent:
    def report(self, session, reports):
        return f"# {session}\n\n" + "\n\n".join(reports)
