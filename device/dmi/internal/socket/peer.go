package socket

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Peer is the process at the other end of a connection. Known is false where the system
// cannot say.
type Peer struct {
	credentials.CommonAuthInfo
	Known bool
	PID   int32
	UID   uint32
	GID   uint32
}

// AuthType is "unix".
func (Peer) AuthType() string { return "unix" }

// PeerOf returns the process that a call on a server comes from.
func PeerOf(ctx context.Context) Peer {
	if p, ok := peer.FromContext(ctx); ok {
		if who, ok := p.AuthInfo.(Peer); ok {
			return who
		}
	}
	return Peer{}
}

// Credentials are transport credentials for both ends: plain text, with the Peer as AuthInfo.
// check, if not nil, may refuse a peer.
func Credentials(check func(Peer) error) credentials.TransportCredentials { return unixCreds{check} }

type unixCreds struct{ check func(Peer) error }

func (c unixCreds) handshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	plain := conn
	if c, ok := plain.(*counted); ok {
		plain = c.Conn
	}
	u, ok := plain.(*net.UnixConn)
	if !ok {
		return nil, nil, errors.New("device/dmi: connection is not of a unix socket")
	}
	who, err := peerOf(u)
	if err == nil && c.check != nil {
		err = c.check(who)
	}
	if err != nil {
		return nil, nil, err
	}
	return conn, who, nil
}

func (c unixCreds) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.handshake(conn)
}

func (c unixCreds) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return c.handshake(conn)
}

func (c unixCreds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "insecure"}
}

func (c unixCreds) Clone() credentials.TransportCredentials { return c }

func (c unixCreds) OverrideServerName(string) error { return nil }
