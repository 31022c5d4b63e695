package monitoring

import "time"

// cloudcoreAlerts are about the cloudcores themselves.
func cloudcoreAlerts() []alert {
	return []alert{
		{
			name: "EdgekitNoCloudcore", severity: critical, hold: 2 * time.Minute,
			expr:    `absent(up{$cloudcores} == 1)`,
			summary: "No cloudcore answers",
			todo:    "Prometheus reaches no cloudcore. Nodes go on without the cloud: no change reaches them and kubectl logs and exec fail. See 'kubectl -n edgekit-system get pods' and the log of the last one that ran.",
		},
		{
			name: "EdgekitCloudcoreDown", severity: warning, hold: 5 * time.Minute,
			expr:    `up{$cloudcores} == 0`,
			summary: "Cloudcore {{ $labels.instance }} does not answer",
			todo:    "Prometheus cannot scrape this cloudcore; the others serve its nodes. See 'kubectl -n edgekit-system describe pod' of it. One that is slow because of its limit of memory needs a larger limit or more replicas.",
		},
		{
			name: "EdgekitNoLeader", severity: warning, hold: 5 * time.Minute,
			expr:    `sum(cloudcore_jobs_leading) == 0`,
			summary: "No cloudcore leads: fleet jobs stand still",
			todo:    "Cloudcores answer and none of them holds the Lease by which one does the work of fleet jobs. See the Leases in the namespace of cloudcore and its log for writes to the API server that fail.",
		},
		{
			name: "EdgekitCertificateNearExpiry", severity: warning, hold: time.Hour,
			expr:    `edgekit_certificate_expiry_timestamp_seconds{$cloudcores, certificate=~"ca|server"} - time() < 30 * 86400`,
			summary: "The {{ $labels.certificate }} certificate of cloudcore ends in {{ $value | humanizeDuration }}",
			todo:    "Nodes cannot connect after its end. The server's certificate renews itself at two thirds of its life: see the log of this instance. For the authority (ca) begin a rotation now: every node must connect once during it.",
		},
		{
			name: "EdgekitKubeletProxyErrors", severity: warning, hold: 10 * time.Minute,
			expr:    `edgekit:kubelet_requests_failed:ratio5m > 0.1`,
			summary: "{{ $value | humanizePercentage }} of the requests to nodes fail (logs, exec, metrics)",
			todo:    "Requests of the API server and of Prometheus to nodes fail before the node answers. The label reason of edgekit_kubelet_refused_total says why. Nodes that are offline do not count.",
		},
		{
			name: "EdgekitDeadLetters", severity: warning,
			expr:    `sum(increase(cloudcore_rules_dead_letters_total[1h])) > 0`,
			summary: "{{ $value | humanize }} messages of rules were given up in the last hour",
			todo:    "Their target did not take them within the rule's ttl. They are gone. See the status of the Rules for the target and its last error; mend the target or give the rule a longer ttl.",
		},
		{
			name: "EdgekitCloudcoreBacklog", severity: warning, hold: 15 * time.Minute,
			expr:    `sum by (instance) (edgekit_hub_queued{$cloudcores}) > 10000`,
			summary: "{{ $value | humanize }} objects wait at cloudcore {{ $labels.instance }} for connected nodes",
			todo:    "Nodes take changes more slowly than they are made. Look for a controller that writes without end, for nodes whose disks are slow, and for a cloudcore that lacks CPU.",
		},
	}
}

// fleetAlerts are about all nodes, from what cloudcore knows. They need no scrape of nodes.
func fleetAlerts() []alert {
	return []alert{
		{
			name: "EdgekitNodesAway", severity: info, hold: 30 * time.Minute,
			expr:    `edgekit:fleet_nodes:max{state="disconnected"} > 0`,
			summary: "{{ $value }} nodes are disconnected",
			todo:    "Their pods go on; what changes in the cloud waits. 'kubectl get nodes' shows EdgeConnected of each. Look for a site that lost its network or power.",
		},
		{
			name: "EdgekitManyNodesAway", severity: critical, hold: 5 * time.Minute,
			// In a small fleet a single node is more than a tenth.
			expr:    `edgekit:fleet_nodes_away:ratio > 0.1 and on () (edgekit:fleet_nodes:max{state="disconnected"} >= 3 or edgekit:fleet_nodes_away:ratio >= 0.5)`,
			summary: "{{ $value | humanizePercentage }} of the nodes are disconnected",
			todo:    "So many at once have one cause in most cases: the load balancer before cloudcore, its certificate, UDP that is blocked, or a network provider. edgekit_hub_handshakes_total and edgekit_hub_sessions_ended_total say how handshakes and sessions end.",
		},
		{
			name: "EdgekitFleetBacklog", severity: warning, hold: 15 * time.Minute,
			expr:    `max(edgekit_fleet_backlog_messages{stat="max"}) > 1000`,
			summary: "{{ $value | humanize }} messages wait for one node",
			todo:    "One connected node does not keep up. Its disk may be slow or full, its link too narrow, or a controller writes its objects without end.",
		},
		{
			name: "EdgekitNodeCertificatesNearExpiry", severity: warning, hold: time.Hour,
			expr:    `max(edgekit_fleet_certificates_expiring{within="24h"}) > 0`,
			summary: "The certificates of {{ $value }} nodes end within a day",
			todo:    "A node renews its certificate at two thirds of its life, so these could not: they are away, or their renewals fail. Bring them back before the end, or at the latest within --renew-grace. Nodes whose certificates live for less than three days are always in this number.",
		},
		{
			name: "EdgekitFleetStoreNearFull", severity: warning, hold: 15 * time.Minute,
			expr:    `max(edgekit_fleet_store_fill_ratio{stat="max"}) > 0.9`,
			summary: "The disk of a node's store is {{ $value | humanizePercentage }} full",
			todo:    "A node whose store is full takes no changes and loses events. Free its disk or give the store more room.",
		},
		{
			name: "EdgekitFleetClockSkew", severity: warning, hold: 15 * time.Minute,
			expr:    `max(edgekit_fleet_clock_skew_seconds{stat="max"}) > 30`,
			summary: "The clock of a node differs by {{ $value | humanizeDuration }}",
			todo:    "Certificates, tokens and the times of values and logs are wrong there. Start a time service on the node; see its log for the warning about the clock.",
		},
		{
			name: "EdgekitUpgradeStuck", severity: warning, hold: 30 * time.Minute,
			expr:    `sum(cloudcore_jobs_working_nodes) > 0 and sum(increase(cloudcore_jobs_reports_total[1h])) == 0`,
			summary: "{{ $value }} nodes work on a fleet job and none has reported for an hour",
			todo:    "Upgrades and other fleet jobs do not get on. 'kubectl get nodeupgradejobs' shows the jobs, 'kubectl describe' the nodes and reasons. Pause or cancel the job, then look at one of the nodes.",
		},
		{
			name: "EdgekitTwinsStale", severity: warning, hold: 30 * time.Minute,
			expr:    `max(edgekit_fleet_twins_stale) > 0`,
			summary: "{{ $value }} twins have old values",
			todo:    "Their devices have not reported for longer than they should. See the state of the Devices, then the mapper of their protocol on the node.",
		},
	}
}
