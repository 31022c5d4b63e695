// Package sinks has the databases that a property's pushMethod.dbMethod may name: InfluxDB 2,
// Redis, MySQL (and MariaDB) and TDengine. It is a Go module of its own, so that a program that
// needs none of them does not get their clients.
//
//	link, err := push.New(push.Config{
//		Link: inner, Store: store,
//		Open: push.Merge(sinks.All(), map[string]push.Opener{push.MethodHTTP: push.HTTP}),
//	})
//
// Credentials come from push.Config.Secret; each Opener names those that it asks for.
//
// Readings arrive at least once. InfluxDB, Redis and TDengine take the same reading again
// without harm. MySQL gets a second row if the mapper is killed between the database's answer
// and the note that the reading was sent.
package sinks
