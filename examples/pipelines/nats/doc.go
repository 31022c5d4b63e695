// Package nats is a Pipeline that feeds NATS JetStream (pipeline.yaml). Its test has a server in the process.
//
// Use JetStream when others shall replay what came, or many shall read it: a stream at the site, with a leaf node
// or a mirror in the cloud. The Pipeline's queue holds what the server does not take while it is away, and the server drops
// what comes twice.
package nats
