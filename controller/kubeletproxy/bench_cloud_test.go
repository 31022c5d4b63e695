package kubeletproxy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubbench/processtest"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// BenchCloud is what the other processes must know of the cloud's process.
type BenchCloud struct {
	Link          string // where nodes connect
	CACert, CAKey []byte // PEM, of nodes' certificates
	Client        BenchCertificate
}

// BenchCertificate is a certificate on its way between processes.
type BenchCertificate struct{ DER, Key []byte }

func (c BenchCertificate) certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := x509.ParsePKCS8PrivateKey(c.Key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{c.DER}, PrivateKey: key}
}

// benchCloud is the cloud's process: a Server, and the end of a link over
// WebSocket and TLS.
type benchCloud struct {
	processtest.Profiler
	t   *testing.T
	dir hubtest.Directory
	api *cloud
}

// Start listens and serves.
func (b *benchCloud) Start(_ struct{}, at *BenchCloud) error {
	certs := jointest.NewCloud(b.t)
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	links, err := wsconn.NewListener(wsconn.ListenerConfig{Addr: socket.Addr()})
	if err != nil {
		return err
	}
	front := &http.Server{Handler: links, TLSConfig: certs.ServerTLS(), ErrorLog: log.New(io.Discard, "", 0)}
	server, err := hub.NewServer(hub.ServerConfig{Listener: links, Directory: &b.dir})
	if err != nil {
		return err
	}
	b.api = newCloud(b.t, nil)
	for _, run := range []func(){
		func() { _ = front.ServeTLS(socket, "", "") }, // until the process ends, as below
		func() { _ = server.Run(context.Background()) },
		func() { _ = b.api.Run(context.Background(), server.OpenStream) },
	} {
		go run()
	}
	hubtest.Until(b.t, "the server runs", b.api.runs)
	client := b.api.ca.client(b.t, "admin", "system:masters")
	key, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
	if err != nil {
		return err
	}
	*at = BenchCloud{Link: "https://" + socket.Addr().String(), CACert: certs.CA.CertificatePEM(), Client: BenchCertificate{client.Certificate[0], key}}
	at.CAKey, err = certs.CA.KeyPEM()
	return err
}

// Port returns the URL of the node's endpoint.
func (b *benchCloud) Port(_ struct{}, url *string) error {
	*url = fmt.Sprintf("https://127.0.0.1:%d", b.api.assignPort("edge-1", 0))
	return nil
}

// Put changes the one object to that version. Its body has the time.
func (b *benchCloud) Put(version int, _ *struct{}) error {
	b.dir.Down("edge-1").Put(hub.Key{Resource: "things", Name: "one"}, version, strconv.FormatInt(time.Now().UnixNano(), 10))
	return nil
}

// Collect collects garbage.
func (b *benchCloud) Collect(struct{}, *struct{}) error {
	debug.FreeOSMemory()
	return nil
}
