// Package join gives a machine its identity: a certificate that says which
// node it is, and that is all a cloud ever trusts.
//
// An operator makes a [Token], which is short-lived, good for one use, bound
// to a node's name or a pattern of names, and carries the pin of the cloud's
// certificate authority. On the edge [Join] checks the cloud by that pin alone,
// makes a key that never leaves the machine, and trades the token for a
// certificate. [Credentials.Save] keeps both in one 0600 file that is there
// whole or not at all. From then on an [Identity] serves them to the link's TLS
// configuration and renews the certificate at two thirds of its life, without
// a reconnect.
//
// In the cloud a [CA] signs, and a [Handler] answers at [JoinPath] and
// [RenewPath]. What must be remembered, tokens and which key a name belongs to,
// is behind two small interfaces, [Tokens] and [Names]. Only a hash of a
// token's secret is ever stored.
//
// What goes wrong is told by the sentinel errors of this package, in the cloud
// and across the wire alike: branch on them with errors.Is.
//
// # Time
//
// A machine without a clock battery wakes up in 1970. A [Clock] is the latest
// time that is known for certain: the system's, or what signed certificates
// prove to have passed, whichever is later.
//
// All types may be used by several goroutines at once unless they say
// otherwise.
package join
