package monitoring

import "time"

// nodeAlerts are about single nodes. They need the series of nodes, which are scraped through cloudcore.
func nodeAlerts() []alert {
	return []alert{
		{
			name: "EdgekitNodeAway", severity: warning, hold: 15 * time.Minute,
			expr:    `up{$nodes} == 0`,
			summary: "Node {{ $labels.node }} does not answer",
			todo:    "It cannot be scraped: it has no link, or edgecore does not run. 'kubectl describe node' says since when it is disconnected. At the machine: 'systemctl status edgecore' and 'edgectl status'.",
		},
		{
			name: "EdgekitNodeBacklog", severity: warning, hold: 15 * time.Minute,
			expr:    `edgekit_meta_events_waiting{$nodes} > 800`,
			summary: "{{ $value }} events wait on node {{ $labels.node }} for the cloud",
			todo:    "At 1000 the oldest is dropped. The link is slow, or something on the node makes events without end: look at the events of its pods and devices.",
		},
		{
			name: "EdgekitNodeEventsDropped", severity: warning,
			expr:    `increase(edgekit_meta_events_dropped_total{$nodes}[15m]) > 0`,
			summary: "Node {{ $labels.node }} dropped {{ $value | humanize }} events",
			todo:    "Its outbox is full: it was away for long, or it makes more events than its link carries.",
		},
		{
			name: "EdgekitNodeCertificateNearExpiry", severity: warning, hold: time.Hour,
			expr:    `edgekit_certificate_expiry_timestamp_seconds{$nodes, certificate=~"node|trusted"} - time() < 86400`,
			summary: "The {{ $labels.certificate }} certificate of node {{ $labels.node }} ends in {{ $value | humanizeDuration }}",
			todo:    "The node renews its certificate at two thirds of its life and could not. See edgekit_identity_renewals_total and the log of edgecore. trusted is the authority by which the node knows cloudcore: it changes with a rotation.",
		},
		{
			name: "EdgekitNodeStoreNearFull", severity: warning, hold: 15 * time.Minute,
			expr:    `1 - edgekit_store_disk_free_bytes{$nodes} / edgekit_store_disk_size_bytes{$nodes} > 0.9 or edgekit_store_disk_free_bytes{$nodes} < 64 * 1048576`,
			summary: "The disk of the store of node {{ $labels.node }} is nearly full",
			todo:    "When it is full the node takes no changes and loses events. Free the disk: images, logs of containers, files of pods.",
		},
		{
			name: "EdgekitNodeStoreNotWritable", severity: critical, hold: 5 * time.Minute,
			expr:    `edgekit_store_writable{$nodes} == 0`,
			summary: "Node {{ $labels.node }} cannot write its store",
			todo:    "Its disk is full, read-only or broken. Pods go on, nothing new is remembered. Free or replace the disk.",
		},
		{
			name: "EdgekitNodeClockSkew", severity: warning, hold: 15 * time.Minute,
			expr:    `abs(edgekit_clock_skew_seconds{$nodes}) > 30`,
			summary: "The clock of node {{ $labels.node }} differs by {{ $value | humanizeDuration }}",
			todo:    "Certificates, tokens and the times of values and logs are wrong there. Start a time service on the node.",
		},
		{
			name: "EdgekitNodeUpgradeStuck", severity: warning, hold: time.Hour,
			expr:    `edgecore_upgrade_phase{$nodes} > 0 < 4`,
			summary: "The upgrade of node {{ $labels.node }} has not ended for an hour",
			todo:    "Phase {{ $value }}: 1 is downloading, 2 verified, 3 on trial. See 'edgectl status' on the node and the job's status. A download waits for a link that is good enough, a verified one for its window or for a confirmation.",
		},
		{
			name: "EdgekitNodeTwinsStale", severity: warning, hold: 30 * time.Minute,
			expr:    `edgekit_twins_stale{$nodes} > 0`,
			summary: "{{ $value }} twins of node {{ $labels.node }} have old values",
			todo:    "Their devices have not reported for longer than they should. See the mapper of their protocol on the node.",
		},
		{
			name: "EdgekitNodeRestarts", severity: warning,
			expr:    `changes(process_start_time_seconds{$nodes}[1h]) > 3`,
			summary: "edgecore on node {{ $labels.node }} was started {{ $value }} times in an hour",
			todo:    "Its pods go on. See 'journalctl -u edgecore' for why it ends: memory, a disk that fails, a setting that is refused.",
		},
		{
			name: "EdgekitNodeFenced", severity: critical, hold: time.Minute,
			expr:    `edgekit_hub_fenced{$nodes} == 1`,
			summary: "Another machine has the identity of node {{ $labels.node }}",
			todo:    "Two machines have one certificate, in most cases since a disk was copied. This one goes on without the link. Remove the other one or let it join under a name of its own.",
		},
	}
}
