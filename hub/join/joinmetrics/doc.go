// Package joinmetrics gives the metrics of package join to Prometheus: what
// joins and renewals came to, when certificates end, and what revocation did.
//
// What to alert on: edgekit_certificate_expiry_timestamp_seconds less than a
// month ahead for "ca", a day for "server"; a rate of
// edgekit_join_requests_total{result="token-invalid"} is somebody who guesses.
package joinmetrics
