package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

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
	server    *server.Server
	namespace *server.NodeNameSpace
	identity  identity
	nodes     map[string]*server.Node

	mu     sync.Mutex
	values map[string]any
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
	s := &simulator{server: srv, namespace: server.NewNodeNameSpace(srv, "urn:edgekit:press"), identity: own, nodes: make(map[string]*server.Node)}
	srv.AddNamespace(s.namespace)
	objects := s.namespace.Objects()
	root.Objects().AddRef(objects, id.HasComponent, true)
	for name, value := range map[string]any{"temperature": 21.5, "target": int32(100), "running": true, "program": "A"} {
		s.nodes[name] = s.namespace.AddNewVariableStringNode(name, value)
	}
	s.nodes["strokes"] = s.namespace.AddNode(server.NewVariableNode(ua.NewNumericNodeID(s.namespace.ID(), 1001), "strokes", uint32(7)))
	for _, n := range s.nodes {
		objects.AddRef(n, id.HasComponent, true)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	if err := srv.Start(ctx); err != nil {
		cancel()
		return nil
	}
	t.Cleanup(func() {
		srv.Close()
		cancel()
	})
	return s
}

// set changes a value at the press.
func (s *simulator) set(t *testing.T, name string, value any) {
	t.Helper()
	if status := s.namespace.SetAttribute(s.nodes[name].ID(), ua.AttributeIDValue, server.DataValueFromValue(value)); status != ua.StatusOK {
		t.Fatal(status)
	}
}

// value is what the press has.
func (s *simulator) value(name string) any {
	v := s.namespace.Attribute(s.nodes[name].ID(), ua.AttributeIDValue)
	if v == nil || v.Value == nil {
		return nil
	}
	return v.Value.Value()
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
