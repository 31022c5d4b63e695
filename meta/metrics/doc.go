// Package metrics shows a store's figures to Prometheus.
//
//	registry.MustRegister(metrics.NewStore(store.Stats))
//
// Names begin with edgekit_store_. One gathering asks for the figures once.
// The collector may be used by several goroutines at once.
package metrics
