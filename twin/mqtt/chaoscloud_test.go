package mqtt_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/wsconn"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicesync"
)

// chaosLink adds the part of edgecore that is about the cloud: link, MetaManager and the
// Device objects.
func chaosLink(ctx context.Context, group *errgroup.Group, cfg chaosConfig, store meta.Store, engine *twin.Engine) error {
	cert, err := tls.LoadX509KeyPair(filepath.Join(cfg.Cloud, "node.crt"), filepath.Join(cfg.Cloud, "node.key"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(filepath.Join(cfg.Cloud, "ca.crt"))
	if err != nil {
		return err
	}
	roots.AppendCertsFromPEM(ca)
	dialer, err := wsconn.NewDialer(wsconn.DialerConfig{URL: cfg.CloudURL, TLS: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{cert}}})
	if err != nil {
		return err
	}
	m, err := manager.New(manager.Config{Store: store, Node: chaosNode})
	if err != nil {
		return err
	}
	resources, err := devicesync.New(devicesync.Config{Engine: engine, Store: store, Reporter: m})
	if err != nil {
		return err
	}
	client, err := hub.NewClient(hub.ClientConfig{
		Dialer: dialer, Node: chaosNode, Instance: cfg.Earlier[0], Earlier: cfg.Earlier[1:], Down: m.Down(), Up: m.StateOutbox(), Outbox: m.EventOutbox(),
		Connected: []func(hub.Info){func(i hub.Info) { _ = m.NodeConnection(ctx, i) }}, // the store's error comes again with the next write
	})
	if err != nil {
		return err
	}
	for _, run := range []func(context.Context) error{m.Run, resources.Run, client.Run} {
		group.Go(func() error { return run(ctx) })
	}
	return nil
}

// cloud has the Device objects, and the reports of the node.
type cloud struct {
	directory *hubtest.Directory
	link      *link
	desired   int // the last value that the cloud has set
}

// startCloud runs a cloud, and writes the node's identity to a folder.
func startCloud(t *testing.T, dir string) *cloud {
	t.Helper()
	authority, err := join.NewCA("chaos", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keyring, err := join.NewKeyring(join.KeyringConfig{Authorities: join.Authorities{Issuer: authority}, Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := authority.IssueNode(key.Public(), chaosNode, time.Now(), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"node.crt": {Type: "CERTIFICATE", Bytes: cert.Raw}, "node.key": {Type: "EC PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), authority.CertificatePEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener, err := wsconn.NewListener(wsconn.ListenerConfig{Addr: socket.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(wsconn.Path, listener)
	web := &http.Server{Handler: mux, ReadHeaderTimeout: 15 * time.Second}
	c := &cloud{directory: &hubtest.Directory{}}
	server, err := hub.NewServer(hub.ServerConfig{Listener: listener, Directory: c.directory})
	if err != nil {
		t.Fatal(err)
	}
	if c.link, err = newLink("tcp", socket.Addr().String()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = web.Serve(tls.NewListener(listener.Throttle(socket), keyring.ServerTLS())) }) // ends with web.Close
	running.Go(func() {
		if err := server.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	running.Go(c.link.serve)
	t.Cleanup(func() {
		cancel()
		c.link.close()
		_ = web.Close() // the connections are gone
		running.Wait()
		_ = listener.Close() // it has ended
	})
	c.declare()
	return c
}

// declare puts the devices.
func (c *cloud) declare() {
	down := c.directory.Down(chaosNode)
	var model, spec []string
	for i := range properties {
		model = append(model, fmt.Sprintf(`{"name":%q,"type":"INT","accessMode":"ReadWrite"}`, property(i)))
		spec = append(spec, fmt.Sprintf(`{"name":%q,"reportToCloud":true}`, property(i)))
	}
	model = append(model, `{"name":"target","type":"INT","accessMode":"ReadWrite"}`, `{"name":"order","type":"INT","accessMode":"ReadWrite"}`)
	down.Put(hub.Key{Resource: "devicemodels", Namespace: "plant", Name: "model"}, 1, `{"metadata":{"namespace":"plant","name":"model"},"spec":{"properties":[`+strings.Join(model, ",")+`]}}`)
	for _, name := range []string{"m0", "m1"} {
		down.Put(hub.Key{Resource: "devices", Namespace: "plant", Name: name}, 1, fmt.Sprintf(
			`{"metadata":{"namespace":"plant","name":%q,"uid":%q,"generation":1},"spec":{"deviceModelRef":{"name":"model"},"nodeName":%q,"properties":[%s]}}`, name, name, chaosNode, strings.Join(spec, ",")))
	}
	c.order()
}

// order has the cloud set the next desired value of the quiet device.
func (c *cloud) order() {
	c.desired++
	c.directory.Down(chaosNode).Put(hub.Key{Resource: "devices", Namespace: "plant", Name: "quiet"}, c.desired, fmt.Sprintf(
		`{"metadata":{"namespace":"plant","name":"quiet","uid":"quiet","generation":%d},"spec":{"deviceModelRef":{"name":"model"},"nodeName":%q,"properties":[{"name":"target","reportToCloud":true},{"name":"order","reportToCloud":true,"desired":{"value":"%d"}}]}}`, c.desired, chaosNode, c.desired))
}

// reported is what the node has reported last, as "device property side".
func (c *cloud) reported() map[string]string {
	got := make(map[string]string)
	for _, o := range c.directory.Up(chaosNode).Log() {
		var status v1beta1.DeviceStatusStatus
		if o.Key.Resource != "devicestatuses" || json.Unmarshal(o.Body, &status) != nil {
			continue
		}
		for _, t := range status.Twins {
			id := o.Key.Namespace + "/" + o.Key.Name + " " + t.PropertyName
			if t.Reported != nil {
				got[id+" actual"] = t.Reported.Value
			}
			if t.ObservedDesired != nil {
				got[id+" expected"] = t.ObservedDesired.Value
			}
		}
	}
	return got
}

// compareCloud waits until the node has reported the last values, and counts those that it
// has not.
func (c *chaos) compareCloud() {
	want := map[string]string{quiet + " order expected": strconv.Itoa(c.cloud.desired)}
	c.mu.Lock()
	for device, names := range c.accepted {
		for name, value := range names {
			want[device+" "+name+" actual"] = strconv.Itoa(value)
		}
	}
	want[quiet+" target actual"], want[quiet+" target expected"] = strconv.Itoa(c.desired), strconv.Itoa(c.desired)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Minute)
	defer cancel()
	missing := func() (n int) {
		got := c.cloud.reported()
		for what, value := range want {
			if got[what] != value {
				n++
			}
		}
		return n
	}
	if c.cloud.directory.Up(chaosNode).Wait(ctx, func() bool { return missing() == 0 }) != nil {
		n := missing()
		c.inconsistent += n
		c.t.Errorf("the cloud lacks %d values", n)
	}
}
