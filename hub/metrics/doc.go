// Package metrics exports the counts of a hub.Server or hub.Client to Prometheus. A
// [Collector] reads hub.Stats when it is scraped; between two scrapes it costs nothing.
//
// No metric has a label for the node: a server with 100,000 nodes has as many
// time series as one with ten. What concerns one node is in the log, and in
// hub.Server.Nodes.
//
//	edgekit_hub_sessions                         transport   that stand now
//	edgekit_hub_sessions_ended_total             reason
//	edgekit_hub_handshakes_total                 result
//	edgekit_hub_resyncs_total                    outcome     digests equal, or versions listed
//	edgekit_hub_messages_total                   class, direction
//	edgekit_hub_bytes_total                      class, direction    without the transport's own
//	edgekit_hub_queued                           class       to be sent or on the way
//	edgekit_hub_acked_total                      class
//	edgekit_hub_retried_total                    class
//	edgekit_hub_dropped_total                    class, reason
//	edgekit_hub_owner_behind_total                           objects whose owner's versions went back
//	edgekit_hub_events_presumed_total                        not sent since the peer has them
//	edgekit_hub_round_trip_seconds               histogram, from the edges' pings
//	edgekit_hub_fenced                           on an edge: 1 while another program has the node
//
// The values of the labels are the constants of package hub. When certificates
// end is shown by package join/joinmetrics.
//
// A Collector may be used by several goroutines at once.
package metrics
