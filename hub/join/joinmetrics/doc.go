// Package joinmetrics exports the metrics of package join to Prometheus: results of joins
// and renewals, when certificates expire, and what revocation did.
//
// What to alert on: edgekit_certificate_expiry_timestamp_seconds less than a month ahead
// for "ca", a day for "server"; a rate of
// edgekit_join_requests_total{result="token-invalid"} means that somebody guesses tokens.
package joinmetrics
