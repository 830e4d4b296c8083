"""The village's rag."""
