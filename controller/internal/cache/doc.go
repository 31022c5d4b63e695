// Package cache keeps a live copy of API objects in memory: a reflector of
// client-go that fills a plain map.
//
// It differs from client-go's informers in what it leaves out and in what it
// adds. There is no second queue and no second store: a change is in the map
// before anybody hears of it, so whoever is told of a key finds it. Each object
// has, beside its resource version, the version of its last change that
// matters (see Config.Same): a node that reports its pod's status need not be
// sent the pod again because of that.
//
// managedFields are dropped before an object is stored. Objects in the map are
// shared: nobody may write to them.
package cache
