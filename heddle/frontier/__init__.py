"""The frontier worker: what no macro does goes to a model with tools, within limits, and every call is written down."""
