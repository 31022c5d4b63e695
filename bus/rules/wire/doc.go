// Package wire has what the two ends of a link say to each other about rules.
//
// A Message is one MQTT message, or one HTTP request that is sent later: the body of an
// event of the link, in both directions. A Target is the body of the message that opens a
// stream of resource rules/proxy: the stream then carries one HTTP request. From the
// cloud it is a call of a program on the node, or a message to publish there; from the node
// it is a call of a URL that a Rule has.
//
// An answer that an end of the link has made itself, and not the service, has the header
// ErrorHeader and a Problem as its body. BoundAnswer, BoundProblem and the constants beside them
// bound a call in the same way at both ends.
//
// Decoders take bytes from the other end of the link, which may be hostile: they allocate
// no more than what they were given. All functions may be called from anywhere.
package wire
