package rules_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/rules"
)

// authority issues certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	var der []byte
	a.key, der = sign(t, template, nil, nil)
	a.cert, _ = x509.ParseCertificate(der)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func sign(t *testing.T, template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

// issue makes a certificate for a user or for 127.0.0.1.
func (a *authority) issue(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key, der := sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.cert, a.key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) transport(t *testing.T, user string) *http.Transport {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{*a.issue(t, user)}}}
}

// TestPeers: a request for a node at another cloudcore is passed on to that one, over TLS and
// with this cloudcore's own certificate; one that no cloudcore has is not passed around.
func TestPeers(t *testing.T) {
	c, service, ca := newCluster(t), newSite(t), newAuthority(t)
	c.put(t, "ruleendpoints", endpoint("cloud", v1.Rest, nil))
	c.put(t, "ruleendpoints", endpoint("mqtt", v1.EventBus, nil))
	c.put(t, "ruleendpoints", endpoint("floor", v1.ServiceBus, map[string]v1.Setting{v1.PropertyPort: service.port()}))
	c.put(t, "rules", newRule("lamp", "cloud", map[string]v1.Setting{"path": "/lamp"}, "floor", map[string]v1.Setting{"path": "/v1"}))
	c.put(t, "rules", newRule("a", "cloud", map[string]v1.Setting{"path": "/a"}, "mqtt", map[string]v1.Setting{"topic": "test"}))
	for _, name := range []string{"edge-7", "edge-8"} {
		if err := c.kube.Tracker().Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u", ResourceVersion: "5", Labels: map[string]string{"node-role.kubernetes.io/edge": ""}}}); err != nil {
			t.Fatal(err)
		}
	}
	var holder string // of all nodes
	secure := func(cfg *rules.Config) {
		nodes, err := edge.NewNodeStore(c.kube, nil)
		if err != nil {
			t.Fatal(err)
		}
		during(t, nodes.Run)
		<-nodes.Synced()
		cfg.Nodes = nodes
		cfg.Entry.Plain = false
		own := ca.issue(t, "cloudcore")
		cfg.Entry.Certificate = func() (*tls.Certificate, error) { return own, nil }
		cfg.Entry.ClientCA = func(context.Context) ([]byte, error) { return ca.pem, nil }
		cfg.Entry.Peer = &rules.PeerConfig{Transport: ca.transport(t, "alice"), Find: func(*corev1.Node) string { return holder }}
	}
	first, second := newCloud(t, c, secure), newCloud(t, c, secure)
	holder = first.url[len("http://"):]
	n := newNode(t, first, "edge-7", nil, nil)
	messages := subscribe(t, n.bus, "test/#")
	n.connected(t)
	client := ca.transport(t, "alice")
	send := func(url, body string) answer {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https"+url[len("http"):], io.NopCloser(readerOf(body)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer{resp.StatusCode, resp.Header, string(text)}
	}
	service.set(201, nil)
	eventually(t, func() error { // the authorities of clients have been read
		if got := send(first.url+"/edge-7/plant/lamp/0", "x"); got.status != http.StatusCreated {
			return fmt.Errorf("answered %+v", got)
		}
		if got := send(second.url+"/edge-7/plant/lamp/0", "x"); got.status != http.StatusCreated {
			return fmt.Errorf("answered %+v", got)
		}
		return nil
	})
	service.forget()
	if got := send(second.url+"/edge-7/plant/lamp/1?q=1", binary); got.status != http.StatusCreated || got.body != "answer 201" {
		t.Errorf("answered %+v", got)
	}
	if got := service.requests(); len(got) != 1 || got[0].uri != "/v1/1?q=1" || got[0].body != binary || got[0].header.Get("Edgekit-Forwarded") != "" {
		t.Errorf("the service got %q", got)
	}
	if got := send(second.url+"/edge-7/plant/a/b", binary); got.status != http.StatusOK {
		t.Errorf("answered %+v", got)
	}
	messages.wants(t, "test/b "+binary)
	problemOf(t, send(second.url+"/edge-8/plant/lamp", ""), http.StatusServiceUnavailable, "node-away")
	problemOf(t, send(second.url+"/edge-9/plant/lamp", ""), http.StatusNotFound, "no-node")
	client = ca.transport(t, "bob")
	problemOf(t, send(second.url+"/edge-7/plant/lamp", ""), http.StatusForbidden, "forbidden")
}

// TestPlainPeers: without TLS a request is passed on in its caller's name. Another cloudcore's
// address, which nothing proves, gets no credentials of this one.
func TestPlainPeers(t *testing.T) {
	c, service := newCluster(t), newSite(t)
	c.put(t, "ruleendpoints", endpoint("cloud", v1.Rest, nil))
	c.put(t, "ruleendpoints", endpoint("floor", v1.ServiceBus, map[string]v1.Setting{v1.PropertyPort: service.port()}))
	c.put(t, "rules", newRule("lamp", "cloud", map[string]v1.Setting{"path": "/lamp"}, "floor", map[string]v1.Setting{"path": "/v1"}))
	if err := c.kube.Tracker().Add(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-7", UID: "u", ResourceVersion: "5", Labels: map[string]string{"node-role.kubernetes.io/edge": ""}}}); err != nil {
		t.Fatal(err)
	}
	var holder string
	plain := func(cfg *rules.Config) {
		nodes, err := edge.NewNodeStore(c.kube, nil)
		if err != nil {
			t.Fatal(err)
		}
		during(t, nodes.Run)
		<-nodes.Synced()
		cfg.Nodes = nodes
		cfg.Entry.Peer = &rules.PeerConfig{Transport: refusing{t}, Find: func(*corev1.Node) string { return holder }}
	}
	first, second := newCloud(t, c, plain), newCloud(t, c, plain)
	holder = first.url[len("http://"):]
	n := newNode(t, first, "edge-7", nil, nil)
	n.connected(t)
	if got := call(t, http.MethodPost, second.url+"/edge-7/plant/lamp/1", "x", bearer(alice)); got.status != http.StatusOK {
		t.Errorf("answered %+v", got)
	}
	if got := service.requests(); len(got) != 1 || got[0].header.Get("Authorization") != "" {
		t.Errorf("the service got %q", got)
	}
}

// refusing is a Transport that must not be used.
type refusing struct{ t *testing.T }

func (r refusing) RoundTrip(req *http.Request) (*http.Response, error) {
	r.t.Errorf("%s is sent with cloudcore's own credentials", req.URL)
	return nil, http.ErrNotSupported
}
