// Package nodeidentity keeps in the API server what package hub/join must remember:
// the certificate authority, join tokens, and which key a node name belongs to.
//
// Everything is a Secret in cloudcore's namespace, and every change names the
// version that it replaces, so any number of cloudcores can serve joins at the
// same time: a token is used once, and a name goes to one key. Of a token only
// the hash of its secret is kept.
//
// A name is not free just because nobody has claimed it. A Node that exists
// and was never claimed, such as a control plane's, belongs to somebody else:
// no token gives its name away.
package nodeidentity
