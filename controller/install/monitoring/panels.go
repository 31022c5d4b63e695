package monitoring

// rows are the dashboard's lines of panels.
func rows() []row {
	return []row{{"Fleet", fleetPanels()}, {"Cloudcores", cloudcorePanels()}, {"Node $node", nodePanels()}, {"Devices", devicePanels()}}
}

func stat(title, unit, expr string) panel {
	return panel{kind: "stat", title: title, unit: unit, queries: []query{{expr: expr}}}
}

func graph(title, unit, help string, queries ...query) panel {
	return panel{kind: "timeseries", title: title, unit: unit, help: help, queries: queries}
}

func fleetPanels() []panel {
	return []panel{
		stat("Connected", "none", `edgekit:fleet_nodes:max{state="connected"}`),
		stat("Disconnected", "none", `edgekit:fleet_nodes:max{state="disconnected"}`),
		stat("Disconnected, share", "percentunit", `edgekit:fleet_nodes_away:ratio`),
		stat("Certificates that end within a day", "none", `max(edgekit_fleet_certificates_expiring{within="24h"})`),
		stat("Stale twins", "none", `max(edgekit_fleet_twins_stale)`),
		stat("Machines that wait for approval", "none", `max(cloudcore_joins_waiting)`),
		graph("Nodes by state", "none", "", query{`edgekit:fleet_nodes:max`, "{{state}}"}),
		graph("Nodes by version", "none", "", query{`max by (version) (edgekit_fleet_nodes_by_version)`, "{{version}}"}),
		graph("Messages that wait", "none", "Objects and events on their way to connected nodes.",
			query{`sum(edgekit_fleet_backlog_messages{stat="sum"})`, "all nodes"}, query{`max(edgekit_fleet_backlog_messages{stat="max"})`, "the worst node"}),
		graph("Nodes that are degraded", "none", "By the reason of the condition EdgeDegraded.", query{`max by (reason) (edgekit_fleet_nodes_degraded) or vector(0)`, "{{reason}}"}),
		graph("Certificates that end", "none", "", query{`max by (within) (edgekit_fleet_certificates_expiring)`, "within {{within}}"}),
		graph("Fleet jobs", "none", "", query{`max by (kind, phase) (edgekit_fleet_jobs)`, "{{kind}} {{phase}}"}),
		graph("Nodes in fleet jobs", "none", "", query{`max by (kind, phase) (edgekit_fleet_job_nodes)`, "{{kind}} {{phase}}"}),
		graph("Disk of the worst node", "percentunit", "How full the disk of its store is.", query{`max(edgekit_fleet_store_fill_ratio{stat="max"})`, "full"}),
		graph("Clock of the worst node", "s", "How much it differs from cloudcore's.", query{`max(edgekit_fleet_clock_skew_seconds{stat="max"})`, "differs"}),
		graph("Memory of edgecore", "bytes", "Of the nodes that are scraped.",
			query{`edgekit:node_resident_memory_bytes:p50`, "p50"}, query{`edgekit:node_resident_memory_bytes:max`, "max"}),
	}
}

func cloudcorePanels() []panel {
	return []panel{
		graph("Sessions", "none", "", query{`sum by (instance, transport) (edgekit_hub_sessions{$cloudcores})`, "{{instance}} {{transport}}"}),
		graph("Handshakes", "ops", "", query{`sum by (result) (rate(edgekit_hub_handshakes_total{$cloudcores}[$__rate_interval]))`, "{{result}}"}),
		graph("Sessions that ended", "ops", "", query{`sum by (reason) (rate(edgekit_hub_sessions_ended_total{$cloudcores}[$__rate_interval]))`, "{{reason}}"}),
		graph("Bytes over links", "Bps", "", query{`edgekit:link_bytes:rate5m`, "{{class}} {{direction}}"}),
		graph("Round trip, p99", "s", "", query{`edgekit:link_round_trip_seconds:p99`, "p99"}),
		graph("Objects and events queued", "none", "", query{`sum by (instance, class) (edgekit_hub_queued{$cloudcores})`, "{{instance}} {{class}}"}),
		graph("Requests to nodes", "reqps", "kubectl logs and exec, and scrapes.", query{`sum by (kind) (rate(edgekit_kubelet_sessions_total[$__rate_interval]))`, "{{kind}}"}),
		graph("Requests to nodes that failed", "percentunit", "", query{`edgekit:kubelet_requests_failed:ratio5m`, "failed"}),
		graph("Rules", "ops", "",
			query{`sum(rate(cloudcore_rules_delivered_total[$__rate_interval]))`, "delivered"}, query{`sum(rate(cloudcore_rules_failed_total[$__rate_interval]))`, "failed tries"},
			query{`sum(rate(cloudcore_rules_dead_letters_total[$__rate_interval]))`, "given up"}),
		graph("Memory", "bytes", "", query{`process_resident_memory_bytes{$cloudcores}`, "{{instance}}"}),
		graph("CPU", "none", "Cores.", query{`rate(process_cpu_seconds_total{$cloudcores}[$__rate_interval])`, "{{instance}}"}),
		graph("Certificates of cloudcore", "s", "Time until they end.", query{`edgekit_certificate_expiry_timestamp_seconds{$cloudcores} - time()`, "{{instance}} {{certificate}}"}),
	}
}

func nodePanels() []panel {
	return []panel{
		stat("Link", "bool_on_off", `edgekit_meta_connected{$one}`),
		stat("Certificate ends in", "s", `edgekit_certificate_expiry_timestamp_seconds{$one, certificate="node"} - time()`),
		stat("Clock differs by", "s", `edgekit_clock_skew_seconds{$one}`),
		stat("Pods", "none", `kubelet_running_pods{$one}`),
		stat("Upgrade, phase", "none", `edgecore_upgrade_phase{$one}`),
		stat("edgecore runs for", "s", `time() - process_start_time_seconds{$one}`),
		graph("Events that wait", "none", "For the cloud.", query{`edgekit_meta_events_waiting{$one}`, "waiting"}, query{`increase(edgekit_meta_events_dropped_total{$one}[$__rate_interval])`, "dropped"}),
		graph("Bytes over the link", "Bps", "", query{`sum by (class, direction) (rate(edgekit_hub_bytes_total{$one}[$__rate_interval]))`, "{{class}} {{direction}}"}),
		graph("Queries", "ops", "By who answered.",
			query{`rate(edgekit_meta_queries_local_total{$one}[$__rate_interval])`, "store"}, query{`rate(edgekit_meta_queries_cloud_total{$one}[$__rate_interval])`, "cloud"},
			query{`rate(edgekit_meta_queries_stale_total{$one}[$__rate_interval])`, "store, while the cloud did not answer"}),
		graph("Store", "bytes", "", query{`edgekit_store_disk_bytes{$one}`, "files"}, query{`edgekit_store_disk_free_bytes{$one}`, "free on its disk"}, query{`edgekit_store_disk_size_bytes{$one}`, "its disk"}),
		graph("Commits, p99", "s", "How long a write takes to be durable.", query{`histogram_quantile(0.99, sum by (le) (rate(edgekit_store_commit_seconds_bucket{$one}[$__rate_interval])))`, "p99"}),
		graph("Memory", "bytes", "", query{`process_resident_memory_bytes{$one}`, "edgecore"}),
		graph("CPU", "none", "Cores.", query{`rate(process_cpu_seconds_total{$one}[$__rate_interval])`, "edgecore"}),
		graph("Requests to the node's API", "reqps", "", query{`sum by (source) (rate(edgekit_api_requests_total{$one}[$__rate_interval]))`, "{{source}}"}),
		graph("Containers", "none", "", query{`kubelet_running_containers{$one}`, "{{container_state}}"}),
	}
}

func devicePanels() []panel {
	return []panel{
		stat("MQTT clients", "none", `edgekit:mqtt_clients:sum`),
		stat("MQTT messages", "ops", `edgekit:mqtt_messages:rate5m`),
		stat("Mappers that can be called", "none", `edgekit:dmi_mappers_connected:sum`),
		stat("Devices of mappers", "none", `edgekit:dmi_devices:sum`),
		stat("Stale twins of nodes", "none", `edgekit:twins_stale:sum`),
		stat("Messages for the cloud", "none", `edgekit:rules_waiting_messages:sum`),
		graph("MQTT messages of $node", "ops", "", query{`rate(edgekit_mqtt_received_messages_total{$one}[$__rate_interval])`, "received"},
			query{`rate(edgekit_mqtt_sent_messages_total{$one}[$__rate_interval])`, "sent"}, query{`rate(edgekit_mqtt_dropped_messages_total{$one}[$__rate_interval])`, "dropped"}),
		graph("MQTT memory of $node", "bytes", "", query{`edgekit_mqtt_queued_bytes{$one}`, "not acknowledged"}, query{`edgekit_mqtt_retained_bytes{$one}`, "retained"}),
		graph("MQTT refusals of $node", "ops", "", query{`rate(edgekit_mqtt_refused_logins_total{$one}[$__rate_interval])`, "logins"}, query{`rate(edgekit_mqtt_denied_total{$one}[$__rate_interval])`, "topics"}),
		graph("Calls to mappers of $node", "ops", "", query{`rate(edgecore_dmi_calls_total{$one}[$__rate_interval])`, "calls"}, query{`rate(edgecore_dmi_calls_failed_total{$one}[$__rate_interval])`, "failed"}),
		graph("Reports of mappers of $node", "ops", "", query{`rate(edgecore_dmi_reports_total{$one}[$__rate_interval])`, "stored"}, query{`rate(edgecore_dmi_reports_refused_total{$one}[$__rate_interval])`, "refused"}),
		graph("Rules of $node", "ops", "", query{`rate(edgecore_rules_delivered_messages_total{$one}[$__rate_interval])`, "delivered"}, query{`rate(edgecore_rules_dropped_messages_total{$one}[$__rate_interval])`, "dropped"}),
		graph("Devices by state", "none", "Of mappers that are scraped.", query{`edgekit:mapper_devices:sum`, "{{protocol}} {{state}}"}),
		graph("Reads of devices that failed", "ops", "Of mappers that are scraped.", query{`edgekit:mapper_reads_failed:rate5m`, "{{protocol}}"}),
		graph("Calls of drivers that hang", "none", "Of mappers that are scraped.", query{`edgekit:mapper_driver_stuck:sum`, "{{protocol}}"}),
	}
}
