"""Logs and traces. ``carrick.telemetry.logs`` needs nothing; ``carrick.telemetry.tracing`` needs OpenTelemetry."""
