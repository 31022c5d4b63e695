// Package socket has the unix sockets of DMI for both ends: it makes a socket, dials one, and
// knows which process is at the other end.
package socket
