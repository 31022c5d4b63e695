// Package cache keeps a current copy of API objects in memory: a reflector of
// client-go that fills a plain map.
//
// It differs from client-go's informers in two ways. There is no second queue
// and no second store: a change is in the map before anybody is notified, so
// whoever is notified of a key finds it. And each object has, beside its
// resource version, the version of its last change that matters (see
// Config.Same): when a node reports its pod's status, the pod need not be sent
// to the node again.
//
// managedFields are dropped before an object is stored. Objects in the map are
// shared: nobody may write to them. A Store of many objects that are seldom looked
// at keeps them encoded (Config.Packing).
package cache
