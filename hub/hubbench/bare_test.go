package hubbench_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/edgekit/edgekit/hub/hubbench/processtest"
	"github.com/edgekit/edgekit/hub/join"
)

// The baseline: a server that is quic-go alone. Each of its connections has shown a
// node's certificate and has one stream, which both ends keep open and on which one byte
// has arrived.

// bareProtocol is the ALPN name, which QUIC must have.
const bareProtocol = "bare"

// bareQUIC are quic-go's defaults, but for connections that are silent.
func bareQUIC() *quic.Config { return &quic.Config{MaxIdleTimeout: time.Hour} }

// bareCloud is the server process.
type bareCloud struct{ connected atomic.Int64 }

// Start serves until the process ends; it returns the port.
func (b *bareCloud) Start(cfg CloudConfig, port *int) error {
	ring, err := cfg.keyring()
	if err != nil {
		return err
	}
	served, err := ring.ServerTLS().GetConfigForClient(nil)
	if err != nil {
		return err
	}
	served = served.Clone()
	served.NextProtos, served.ClientAuth = []string{bareProtocol}, tls.RequireAndVerifyClientCert
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(cfg.Hosts[0])})
	if err != nil {
		return err
	}
	l, err := (&quic.Transport{Conn: socket}).Listen(served, bareQUIC())
	if err != nil {
		return err
	}
	*port = socket.LocalAddr().(*net.UDPAddr).Port
	go func() {
		for {
			conn, err := l.Accept(context.Background())
			if err != nil {
				fmt.Fprintln(os.Stderr, "hubbench: bare", err)
				return
			}
			go b.hold(conn)
		}
	}()
	return nil
}

func (b *bareCloud) hold(conn *quic.Conn) {
	s, err := conn.AcceptStream(context.Background())
	if err != nil {
		return
	}
	if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
		return
	}
	b.connected.Add(1)
	_, _ = s.Read(make([]byte, 1)) // blocks: the peer sends nothing more
	b.connected.Add(-1)
}

// State returns how many connections are open.
func (b *bareCloud) State(_ struct{}, out *CloudState) error {
	out.Connected = int(b.connected.Load())
	return nil
}

// Collect collects garbage as the fleet's server does.
func (b *bareCloud) Collect(_ struct{}, _ *struct{}) error {
	return (&cloud{}).Collect(struct{}{}, nil)
}

// bareCrew is a process with many nodes.
type bareCrew struct{}

// Start connects the nodes and returns when they are.
func (bareCrew) Start(cfg CrewConfig, _ *struct{}) error {
	ca, err := join.LoadCA(cfg.CertPEM, cfg.KeyPEM)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf, err := ca.IssueNode(key.Public(), nodeName(0), time.Now(), time.Hour)
	if err != nil {
		return err
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(cfg.Own)})
	if err != nil {
		return err
	}
	to := &net.UDPAddr{IP: net.ParseIP(cfg.Host), Port: cfg.Port}
	from := &quic.Transport{Conn: socket, ConnectionIDLength: 8} // ids of 4 bytes, the default, collide
	shared := &tls.Config{
		RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13, ServerName: cfg.Host, NextProtos: []string{bareProtocol},
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}},
	}
	failed := make(chan error, cfg.Nodes)
	free := make(chan struct{}, cfg.Dials)
	var dialing sync.WaitGroup
	for range cfg.Nodes {
		free <- struct{}{}
		dialing.Go(func() {
			defer func() { <-free }()
			conn, err := from.Dial(context.Background(), to, shared, bareQUIC())
			if err == nil {
				err = speak(conn)
			}
			if err != nil {
				failed <- err
			}
		})
	}
	dialing.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("%d of %d nodes did not connect, one of them: %w", len(failed)+1, cfg.Nodes, err)
	default:
		return nil
	}
}

func speak(conn *quic.Conn) error {
	s, err := conn.OpenStream()
	if err == nil {
		_, err = s.Write([]byte{1})
	}
	return err
}

// bare prints how much memory a connection takes at a server that is quic-go alone, with
// as many connections as the fleet has nodes.
func bare(t *testing.T, plan fleetPlan) {
	cert, key := authority(t)
	server := processtest.Start(t, processtest.Config{Role: "bare-cloud", Env: []string{"GOGC=" + collectAt()}})
	cfg := CloudConfig{Hosts: []string{loopback(0)}, CertPEM: cert, KeyPEM: key}
	server.Call("Start", cfg, &cfg.Port)
	server.Call("Collect", struct{}{}, &struct{}{})
	empty := server.Resident()
	nodes := processtest.Start(t, processtest.Config{Role: "bare-crew", Env: []string{"GOGC=400"}})
	nodes.Call("Start", CrewConfig{
		Host: loopback(0), Port: cfg.Port, Own: loopback(1), CertPEM: cfg.CertPEM, KeyPEM: key, Nodes: plan.nodes, Dials: 32,
	}, &struct{}{})
	<-time.After(plan.rest)
	var s CloudState
	server.Call("State", struct{}{}, &s)
	for range 2 {
		server.Call("Collect", struct{}{}, &struct{}{})
	}
	t.Logf("%d of %d connections of quic-go alone; it turns away those that are ready while 32 wait for Accept", s.Connected, plan.nodes)
	result("quic_go_kib_per_connection", float64(server.Resident()-empty)/1024/float64(s.Connected), "KiB")
}
