package alertstest_test

// ruleCases are the tests of all alerts. A rate needs two values; promtool begins at minute 0.
func ruleCases() []ruleCase {
	return append(append(cloudcoreCases(), fleetCases()...), nodeCases()...)
}

type values = map[string]string

func cloudcoreCases() []ruleCase {
	return []ruleCase{
		{
			alert: "EdgekitNoCloudcore", not: "6m", at: "9m",
			fires:   values{`up{job="cloudcore",instance="a"}`: "1x5 0x20", `up{job="edgecore",instance="n"}`: "1x30"},
			quiet:   values{`up{job="cloudcore",instance="a"}`: "0x30", `up{job="cloudcore",instance="b"}`: "1x30"},
			summary: "No cloudcore answers",
		},
		{
			alert: "EdgekitCloudcoreDown", not: "9m", at: "12m",
			fires:   values{`up{job="cloudcore",instance="a"}`: "1x5 0x20", `up{job="cloudcore",instance="b"}`: "1x30"},
			quiet:   values{`up{job="cloudcore",instance="a"}`: "1x5 0x2 1x30", `up{job="other",instance="b"}`: "0x30"},
			labels:  values{"job": "cloudcore", "instance": "a"},
			summary: "Cloudcore a does not answer",
		},
		{
			alert: "EdgekitNoLeader", not: "4m", at: "6m",
			fires:   values{`cloudcore_jobs_leading{instance="a"}`: "0x20", `cloudcore_jobs_leading{instance="b"}`: "0x20"},
			quiet:   values{`cloudcore_jobs_leading{instance="a"}`: "0x20", `cloudcore_jobs_leading{instance="b"}`: "1x20"},
			summary: "No cloudcore leads: fleet jobs stand still",
		},
		{
			alert: "EdgekitCertificateNearExpiry", not: "50m", at: "60m",
			fires:   values{`edgekit_certificate_expiry_timestamp_seconds{job="cloudcore",instance="a",certificate="server"}`: "867600x90"}, // 10 days after minute 60
			quiet:   values{`edgekit_certificate_expiry_timestamp_seconds{job="cloudcore",instance="a",certificate="ca"}`: "8640000x90", `edgekit_certificate_expiry_timestamp_seconds{job="edgecore",certificate="ca"}`: "9x90"},
			labels:  values{"job": "cloudcore", "instance": "a", "certificate": "server"},
			summary: "The server certificate of cloudcore ends in 10d 0h 0m 0s",
		},
		{
			alert: "EdgekitKubeletProxyErrors", not: "9m", at: "14m",
			fires:   values{`edgekit_kubelet_sessions_total{kind="log"}`: "0+100x30", `edgekit_kubelet_refused_total{reason="failed"}`: "0+25x30"},
			quiet:   values{`edgekit_kubelet_sessions_total{kind="log"}`: "0+100x30", `edgekit_kubelet_refused_total{reason="failed"}`: "0+5x30", `edgekit_kubelet_refused_total{reason="forbidden"}`: "0+500x30", `edgekit_kubelet_refused_total{reason="offline"}`: "0+500x30"},
			summary: "25% of the requests to nodes fail (logs, exec, metrics)",
		},
		{
			alert: "EdgekitDeadLetters", at: "60m",
			fires:   values{`cloudcore_rules_dead_letters_total{instance="a"}`: "0x30 6x60"},
			quiet:   values{`cloudcore_rules_dead_letters_total{instance="a"}`: "7x90"},
			summary: "6 messages of rules were given up in the last hour",
		},
		{
			alert: "EdgekitCloudcoreBacklog", not: "14m", at: "16m",
			fires:   values{`edgekit_hub_queued{job="cloudcore",instance="a",class="state"}`: "9000x30", `edgekit_hub_queued{job="cloudcore",instance="a",class="event"}`: "3000x30"},
			quiet:   values{`edgekit_hub_queued{job="cloudcore",instance="a",class="state"}`: "9000x30", `edgekit_hub_queued{job="cloudcore",instance="b",class="state"}`: "9000x30", `edgekit_hub_queued{job="edgecore",class="state"}`: "90000x30"},
			labels:  values{"instance": "a"},
			summary: "12k objects wait at cloudcore a for connected nodes",
		},
	}
}

func fleetCases() []ruleCase {
	return []ruleCase{
		{
			alert: "EdgekitNodesAway", not: "29m", at: "31m",
			fires:   values{`edgekit_fleet_nodes{instance="a",state="disconnected"}`: "3x40", `edgekit_fleet_nodes{instance="b",state="disconnected"}`: "2x40"},
			quiet:   values{`edgekit_fleet_nodes{instance="a",state="disconnected"}`: "0x40", `edgekit_fleet_nodes{instance="a",state="connected"}`: "7x40"},
			labels:  values{"state": "disconnected"},
			summary: "3 nodes are disconnected",
		},
		{
			alert: "EdgekitManyNodesAway", not: "4m", at: "6m",
			fires:   values{`edgekit_fleet_nodes{instance="a",state="disconnected"}`: "20x40", `edgekit_fleet_nodes{instance="a",state="connected"}`: "75x40", `edgekit_fleet_nodes{instance="a",state="unknown"}`: "5x40"},
			quiet:   values{`edgekit_fleet_nodes{instance="a",state="disconnected"}`: "9x40", `edgekit_fleet_nodes{instance="a",state="connected"}`: "91x40"},
			summary: "20% of the nodes are disconnected",
		},
		{ // a small fleet: half of it, but not one node of nine
			alert: "EdgekitManyNodesAway", not: "4m", at: "6m",
			fires:   values{`edgekit_fleet_nodes{instance="a",state="disconnected"}`: "1x40", `edgekit_fleet_nodes{instance="a",state="connected"}`: "1x40"},
			quiet:   values{`edgekit_fleet_nodes{instance="a",state="disconnected"}`: "1x40", `edgekit_fleet_nodes{instance="a",state="connected"}`: "8x40"},
			summary: "50% of the nodes are disconnected",
		},
		{
			alert: "EdgekitFleetBacklog", not: "14m", at: "16m",
			fires:   values{`edgekit_fleet_backlog_messages{instance="a",stat="max"}`: "1500x40"},
			quiet:   values{`edgekit_fleet_backlog_messages{instance="a",stat="max"}`: "900x40", `edgekit_fleet_backlog_messages{instance="a",stat="sum"}`: "90000x40"},
			summary: "1.5k messages wait for one node",
		},
		{
			alert: "EdgekitNodeCertificatesNearExpiry", not: "59m", at: "61m",
			fires:   values{`edgekit_fleet_certificates_expiring{instance="a",within="24h"}`: "2x90", `edgekit_fleet_certificates_expiring{instance="b",within="24h"}`: "2x90"},
			quiet:   values{`edgekit_fleet_certificates_expiring{instance="a",within="24h"}`: "0x90", `edgekit_fleet_certificates_expiring{instance="a",within="720h"}`: "50x90"},
			summary: "The certificates of 2 nodes end within a day",
		},
		{
			alert: "EdgekitFleetStoreNearFull", not: "14m", at: "16m",
			fires:   values{`edgekit_fleet_store_fill_ratio{instance="a",stat="max"}`: "0.95x40"},
			quiet:   values{`edgekit_fleet_store_fill_ratio{instance="a",stat="max"}`: "0.85x40"},
			summary: "The disk of a node's store is 95% full",
		},
		{
			alert: "EdgekitFleetClockSkew", not: "14m", at: "16m",
			fires:   values{`edgekit_fleet_clock_skew_seconds{instance="a",stat="max"}`: "90x40"},
			quiet:   values{`edgekit_fleet_clock_skew_seconds{instance="a",stat="max"}`: "29x40"},
			summary: "The clock of a node differs by 1m 30s",
		},
		{
			alert: "EdgekitUpgradeStuck", not: "85m", at: "100m", // reports end at minute 10
			fires:   values{`cloudcore_jobs_working_nodes{instance="a"}`: "4x200", `cloudcore_jobs_reports_total{instance="a"}`: "0+1x10 10x200"},
			quiet:   values{`cloudcore_jobs_working_nodes{instance="a"}`: "4x200", `cloudcore_jobs_reports_total{instance="a"}`: "0+0.1x200"},
			summary: "4 nodes work on a fleet job and none has reported for an hour",
		},
		{
			alert: "EdgekitTwinsStale", not: "29m", at: "31m",
			fires:   values{`edgekit_fleet_twins_stale{instance="a"}`: "5x40"},
			quiet:   values{`edgekit_fleet_twins_stale{instance="a"}`: "5x20 0x20"},
			summary: "5 twins have old values",
		},
	}
}

func nodeCases() []ruleCase {
	node := values{"job": "edgecore", "node": "n1"}
	with := func(more values) values {
		more["job"], more["node"] = node["job"], node["node"]
		return more
	}
	return []ruleCase{
		{
			alert: "EdgekitNodeAway", not: "19m", at: "22m",
			fires:   values{`up{job="edgecore",node="n1"}`: "1x5 0x40"},
			quiet:   values{`up{job="edgecore",node="n1"}`: "1x5 0x10 1x40", `up{job="cloudcore"}`: "0x40"},
			labels:  node,
			summary: "Node n1 does not answer",
		},
		{
			alert: "EdgekitNodeBacklog", not: "14m", at: "16m",
			fires:   values{`edgekit_meta_events_waiting{job="edgecore",node="n1"}`: "900x40"},
			quiet:   values{`edgekit_meta_events_waiting{job="edgecore",node="n1"}`: "500x40"},
			labels:  node,
			summary: "900 events wait on node n1 for the cloud",
		},
		{
			alert: "EdgekitNodeEventsDropped", at: "15m",
			fires:   values{`edgekit_meta_events_dropped_total{job="edgecore",node="n1"}`: "0x6 14x40"},
			quiet:   values{`edgekit_meta_events_dropped_total{job="edgecore",node="n1"}`: "14x40"},
			labels:  node,
			summary: "Node n1 dropped 14 events",
		},
		{
			alert: "EdgekitNodeCertificateNearExpiry", not: "50m", at: "60m",
			fires:   values{`edgekit_certificate_expiry_timestamp_seconds{job="edgecore",node="n1",certificate="node"}`: "7200x90"},
			quiet:   values{`edgekit_certificate_expiry_timestamp_seconds{job="edgecore",node="n1",certificate="node"}`: "7200x30 864000x90"},
			labels:  with(values{"certificate": "node"}),
			summary: "The node certificate of node n1 ends in 1h 0m 0s",
		},
		{
			alert: "EdgekitNodeStoreNearFull", not: "14m", at: "16m",
			fires:   values{`edgekit_store_disk_size_bytes{job="edgecore",node="n1"}`: "4e9x40", `edgekit_store_disk_free_bytes{job="edgecore",node="n1"}`: "3e8x40"},
			quiet:   values{`edgekit_store_disk_size_bytes{job="edgecore",node="n1"}`: "4e9x40", `edgekit_store_disk_free_bytes{job="edgecore",node="n1"}`: "8e8x40"},
			labels:  node,
			summary: "The disk of the store of node n1 is nearly full",
		},
		{ // a small disk
			alert: "EdgekitNodeStoreNearFull", not: "14m", at: "16m",
			fires:   values{`edgekit_store_disk_size_bytes{job="edgecore",node="n1"}`: "128000000x40", `edgekit_store_disk_free_bytes{job="edgecore",node="n1"}`: "30000000x40"},
			quiet:   values{`edgekit_store_disk_size_bytes{job="edgecore",node="n1"}`: "128000000x40", `edgekit_store_disk_free_bytes{job="edgecore",node="n1"}`: "90000000x40"},
			labels:  node,
			summary: "The disk of the store of node n1 is nearly full",
		},
		{
			alert: "EdgekitNodeStoreNotWritable", not: "4m", at: "6m",
			fires:   values{`edgekit_store_writable{job="edgecore",node="n1"}`: "0x40"},
			quiet:   values{`edgekit_store_writable{job="edgecore",node="n1"}`: "1x40"},
			labels:  node,
			summary: "Node n1 cannot write its store",
		},
		{
			alert: "EdgekitNodeClockSkew", not: "14m", at: "16m",
			fires:   values{`edgekit_clock_skew_seconds{job="edgecore",node="n1"}`: "-60x40"},
			quiet:   values{`edgekit_clock_skew_seconds{job="edgecore",node="n1"}`: "-2x40"},
			labels:  node,
			summary: "The clock of node n1 differs by 1m 0s",
		},
		{
			alert: "EdgekitNodeUpgradeStuck", not: "59m", at: "61m",
			fires:   values{`edgecore_upgrade_phase{job="edgecore",node="n1"}`: "3x90"},
			quiet:   values{`edgecore_upgrade_phase{job="edgecore",node="n1"}`: "4x90", `edgecore_upgrade_phase{job="edgecore",node="n2"}`: "0x90", `edgecore_upgrade_phase{job="edgecore",node="n3"}`: "3x30 5x90"},
			labels:  node,
			summary: "The upgrade of node n1 has not ended for an hour",
			value:   "3",
		},
		{
			alert: "EdgekitNodeTwinsStale", not: "29m", at: "31m",
			fires:   values{`edgekit_twins_stale{job="edgecore",node="n1"}`: "2x40"},
			quiet:   values{`edgekit_twins_stale{job="edgecore",node="n1"}`: "0x40"},
			labels:  node,
			summary: "2 twins of node n1 have old values",
		},
		{
			alert: "EdgekitNodeRestarts", at: "30m",
			fires:   values{`process_start_time_seconds{job="edgecore",node="n1"}`: "100x5 200x5 300x5 400x5 500x40"},
			quiet:   values{`process_start_time_seconds{job="edgecore",node="n1"}`: "100x5 200x90", `process_start_time_seconds{job="cloudcore"}`: "0+1x90"},
			labels:  node,
			summary: "edgecore on node n1 was started 4 times in an hour",
		},
		{
			alert: "EdgekitNodeFenced", not: "0m", at: "2m",
			fires:   values{`edgekit_hub_fenced{job="edgecore",node="n1"}`: "1x40"},
			quiet:   values{`edgekit_hub_fenced{job="edgecore",node="n1"}`: "0x40", `edgekit_hub_fenced{job="cloudcore"}`: "1x40"},
			labels:  node,
			summary: "Another machine has the identity of node n1",
		},
	}
}
