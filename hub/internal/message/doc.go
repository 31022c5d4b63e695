// Package message has the values that travel on the link, and the errors that both
// the codec and the pure machines give. Package hub shows them to users by aliases,
// with their contracts.
//
// It is a package of its own because internal/wire, internal/replica and hub all use
// the values, and hub imports the other two.
package message
