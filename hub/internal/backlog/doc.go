// Package backlog keeps connections between their handshake and the Accept that
// takes them, in order. Places are few, so a connection that ends while it
// waits gives its place up at once and is never accepted: were dead ones to
// wait for their turn, then under a load that makes peers give up, Accept would
// bring nothing but dead ones.
package backlog
