package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/gopcua/opcua"
	"github.com/gopcua/opcua/id"
	"github.com/gopcua/opcua/server"
	"github.com/gopcua/opcua/ua"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/internal/mappertest"
)

// identity is a certificate with its key.
type identity struct {
	der       []byte
	key       *rsa.PrivateKey
	cert, pem string
}

func newIdentity(t *testing.T, name string) identity {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment | x509.KeyUsageContentCommitment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{{Scheme: "urn", Opaque: "edgekit:" + name}},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return identity{
		der: der, key: key,
		cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		pem:  string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
	}
}

// simulator is an OPC UA server with the nodes of a press.
type simulator struct {
	url      string
	identity identity
	nodes    map[string]*ua.NodeID

	once sync.Once
	own  *opcua.Client
}

// locked is a namespace whose values may be read and written at once: the library writes them
// while it makes the first notification of a monitored item.
type locked struct {
	*server.NodeNameSpace
	server *server.Server
	mu     sync.Mutex
}

// Attribute reads an attribute of a node.
func (l *locked) Attribute(id *ua.NodeID, attr ua.AttributeID) *ua.DataValue {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.NodeNameSpace.Attribute(id, attr)
}

// SetAttribute writes one, and notifies.
func (l *locked) SetAttribute(id *ua.NodeID, attr ua.AttributeID, val *ua.DataValue) ua.StatusCode {
	l.mu.Lock()
	n := l.Node(id)
	if n == nil {
		l.mu.Unlock()
		return ua.StatusBadNodeIDUnknown
	}
	err := n.SetAttribute(attr, val)
	l.mu.Unlock()
	if err != nil {
		return ua.StatusBadAttributeIDInvalid
	}
	l.server.ChangeNotification(id)
	return ua.StatusOK
}

// startPress starts a server at a free port, and a proxy before it. The library wants to know
// its port before, so startPress tries free ones; and a server has endpoints for the addresses
// that it knows only.
func startPress(t *testing.T) (*simulator, *mappertest.Proxy) {
	t.Helper()
	proxy := mappertest.NewProxy(t, "")
	for range 100 {
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := free.Addr().(*net.TCPAddr).Port
		address := free.Addr().String()
		free.Close()
		if s := newPress(t, port, proxy.Port()); s != nil {
			proxy.SetTarget(address)
			return s, proxy
		}
	}
	t.Fatal("no free port")
	return nil, nil
}

// newPress starts a server at a port, which can also be reached at another; nil if it is taken.
func newPress(t *testing.T, port, other int) *simulator {
	own := newIdentity(t, "press")
	srv := server.New(
		server.EndPoint("127.0.0.1", port), server.EndPoint("127.0.0.1", other), server.Certificate(own.der), server.PrivateKey(own.key),
		server.EnableSecurity("None", ua.MessageSecurityModeNone),
		server.EnableSecurity("Basic256Sha256", ua.MessageSecurityModeSign),
		server.EnableSecurity("Basic256Sha256", ua.MessageSecurityModeSignAndEncrypt),
		server.EnableSecurity("Aes128_Sha256_RsaOaep", ua.MessageSecurityModeSignAndEncrypt),
		server.EnableSecurity("Aes256_Sha256_RsaPss", ua.MessageSecurityModeSignAndEncrypt),
		server.EnableAuthMode(ua.UserTokenTypeAnonymous),
		server.EnableAuthMode(ua.UserTokenTypeUserName),
		server.EnableAuthMode(ua.UserTokenTypeCertificate),
	)
	root, err := srv.Namespace(0)
	if err != nil {
		t.Fatal(err)
	}
	s := &simulator{url: fmt.Sprintf("opc.tcp://127.0.0.1:%d", port), identity: own, nodes: make(map[string]*ua.NodeID)}
	namespace := server.NewNodeNameSpace(srv, "urn:edgekit:press")
	srv.Namespaces()[srv.AddNamespace(namespace)] = &locked{NodeNameSpace: namespace, server: srv} // the library has no other way
	objects := namespace.Objects()
	add := func(name string, n *server.Node) {
		objects.AddRef(n, id.HasComponent, true)
		s.nodes[name] = n.ID()
	}
	root.Objects().AddRef(objects, id.HasComponent, true)
	for name, value := range map[string]any{"temperature": 21.5, "target": int32(100), "running": true, "program": "A"} {
		add(name, namespace.AddNewVariableStringNode(name, value))
	}
	add("strokes", namespace.AddNode(server.NewVariableNode(ua.NewNumericNodeID(namespace.ID(), 1001), "strokes", uint32(7))))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	if err := srv.Start(ctx); err != nil {
		cancel()
		return nil
	}
	t.Cleanup(func() {
		if s.own != nil {
			_ = s.own.Close(context.WithoutCancel(t.Context())) // the server ends it too
		}
		srv.Close()
		cancel()
	})
	return s
}

// set changes a value at the press, as another client.
func (s *simulator) set(t *testing.T, name string, value any) {
	t.Helper()
	answer, err := s.client(t).Write(t.Context(), &ua.WriteRequest{NodesToWrite: []*ua.WriteValue{{
		NodeID: s.nodes[name], AttributeID: ua.AttributeIDValue,
		Value: &ua.DataValue{EncodingMask: ua.DataValueValue, Value: ua.MustVariant(value)},
	}}})
	if err != nil || answer.Results[0] != ua.StatusOK {
		t.Fatal(answer, err)
	}
}

// value is what the press has.
func (s *simulator) value(t *testing.T, name string) any {
	t.Helper()
	answer, err := s.client(t).Read(t.Context(), &ua.ReadRequest{NodesToRead: []*ua.ReadValueID{{NodeID: s.nodes[name], AttributeID: ua.AttributeIDValue}}})
	if err != nil || answer.Results[0].Value == nil {
		t.Fatal(answer, err)
	}
	return answer.Results[0].Value.Value()
}

// client is the simulator's own client.
func (s *simulator) client(t *testing.T) *opcua.Client {
	t.Helper()
	s.once.Do(func() {
		client, err := opcua.NewClient(s.url, opcua.AutoReconnect(false), opcua.RequestTimeout(time.Minute))
		if err == nil {
			err = client.Connect(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		s.own = client
	})
	return s.own
}

// instance is the Device of device.yaml with another connection.
func instance(t *testing.T, c connection) device.Instance {
	t.Helper()
	dev := mappertest.Instance(t, "model.yaml", "device.yaml")
	o, err := schema.NewOptions(c)
	if err != nil {
		t.Fatal(err)
	}
	dev.Spec.Protocol.Config = o
	for n := range dev.Spec.Properties {
		dev.Spec.Properties[n].CollectCycle = 20
		dev.Spec.Properties[n].Desired = nil
	}
	return dev
}
