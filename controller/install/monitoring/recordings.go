package monitoring

// recordings are the series that the dashboard and the alerts read instead of those of each node: their
// queries would read 100,000 series and more whenever somebody looks.
func recordings() []recording {
	return []recording{
		// Each cloudcore knows the whole fleet.
		{"edgekit:fleet_nodes:max", `max by (state) (edgekit_fleet_nodes)`},
		{"edgekit:fleet_nodes_away:ratio", `edgekit:fleet_nodes:max{state="disconnected"} / ignoring (state) sum without (state) (edgekit:fleet_nodes:max)`},
		{"edgekit:link_bytes:rate5m", `sum by (class, direction) (rate(edgekit_hub_bytes_total{$cloudcores}[5m]))`},
		{"edgekit:link_round_trip_seconds:p99", `histogram_quantile(0.99, sum by (le) (rate(edgekit_hub_round_trip_seconds_bucket{$cloudcores}[5m])))`},
		// Requests to nodes that are away do not count, since they have an alert of their own; neither do clients that have no right.
		{"edgekit:kubelet_requests_failed:ratio5m", `(sum(rate(edgekit_kubelet_refused_total{reason=~"exhausted|failed|interrupted|no node|rights unknown|unsupported"}[5m])) or vector(0)) / (sum(rate(edgekit_kubelet_sessions_total[5m])) + (sum(rate(edgekit_kubelet_refused_total{reason=~"exhausted|no node|rights unknown"}[5m])) or vector(0)))`},
		// Series of nodes.
		{"edgekit:node_up:sum", `sum(up{$nodes})`},
		{"edgekit:node_up:count", `count(up{$nodes})`},
		{"edgekit:node_resident_memory_bytes:p50", `quantile(0.5, process_resident_memory_bytes{$nodes})`},
		{"edgekit:node_resident_memory_bytes:max", `max(process_resident_memory_bytes{$nodes})`},
		{"edgekit:store_commit_seconds:p99", `histogram_quantile(0.99, sum by (le) (rate(edgekit_store_commit_seconds_bucket[5m])))`},
		{"edgekit:mqtt_messages:rate5m", `sum(rate(edgekit_mqtt_received_messages_total[5m]))`},
		{"edgekit:mqtt_clients:sum", `sum(edgekit_mqtt_clients)`},
		{"edgekit:dmi_mappers_connected:sum", `sum(edgecore_dmi_mappers_connected)`},
		{"edgekit:dmi_devices:sum", `sum(edgecore_dmi_devices)`},
		{"edgekit:twins_stale:sum", `sum(edgekit_twins_stale{$nodes})`},
		{"edgekit:rules_waiting_messages:sum", `sum(edgecore_rules_waiting_messages)`},
		{"edgekit:mapper_devices:sum", `sum by (protocol, state) (edgekit_mapper_devices)`},
		{"edgekit:mapper_reads_failed:rate5m", `sum by (protocol) (rate(edgekit_mapper_reads_total{result="error"}[5m]))`},
		{"edgekit:mapper_driver_stuck:sum", `sum by (protocol) (edgekit_mapper_driver_stuck)`},
	}
}
