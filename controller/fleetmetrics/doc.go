// Package fleetmetrics sums up a fleet of edge nodes for Prometheus, so that one scrape of a
// cloudcore takes the place of one scrape for each node, and lists the nodes for those who want to
// scrape them one by one.
//
//	c, err := fleetmetrics.New(fleetmetrics.Config{Nodes: nodes, Extremes: server.Extremes, Jobs: jobs.Counts})
//	registry.MustRegister(c)
//	mux.Handle("GET /sd", fleetmetrics.Discovery{Nodes: nodes})
//
// # Where it comes from
//
// A [Collector] sends nothing to nodes and writes nothing: it reads what cloudcore has anyway.
// From the Nodes in the API server: states, versions, and what each node reports in its
// condition EdgeDegraded (resources.Health) when they have changed enough. From the links: backlogs and
// clocks, which the keepalives of nodes show. From the jobs: theirs.
//
// # Several cloudcores
//
// Every cloudcore watches all Nodes and jobs, so what is made of them is the same at each: take the
// maximum. Backlogs and clocks are of the nodes whose session a cloudcore holds:
//
//	max without(instance, pod) (edgekit_fleet_nodes)                                 # and all others of Nodes and jobs
//	sum without(instance, pod) (edgekit_fleet_backlog_messages{stat="sum"})
//	max without(instance, pod) (edgekit_fleet_backlog_messages{stat="max"})
//	max without(instance, pod) (edgekit_fleet_clock_skew_seconds)
//
// # What a hostile node can do
//
// A node writes its own status. No label has a text of a node, but for the version: it must look like
// one, and only the most frequent ones have a series, the rest is "other". Health that is not exactly
// in its form counts as not reported. A node can lie about itself, so a maximum may be its lie,
// and the sum of stale twins too, by a million at most. It counts once in every other count. What a node
// that is away reported last still counts.
//
// A Collector looks at the Nodes at most once in [Config.Every], however often it is scraped.
package fleetmetrics
