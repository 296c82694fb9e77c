//! Sends OTLP over gRPC and HTTP.
