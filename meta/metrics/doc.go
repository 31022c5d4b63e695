// Package metrics exports the counts of a store and of MetaManager to Prometheus.
//
//	registry.MustRegister(metrics.NewStore(store.Stats), metrics.NewManager(manager))
//
// Names of the store's metrics begin with edgekit_store_, those of MetaManager's
// with edgekit_meta_. A collector reads the counts once for each scrape. Several
// goroutines may use it at once.
package metrics
