package main

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gopcua/opcua"
	"github.com/gopcua/opcua/ua"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// connection is spec.protocol.configData of a Device. A secret in it is a secretRef in the
// Device; the SDK puts the secret's text in its place.
type connection struct {
	URL string // opc.tcp://host:port/path
	// SecurityPolicy is None (default), Basic256Sha256, Aes128_Sha256_RsaOaep,
	// Aes256_Sha256_RsaPss, or one of the old Basic256 and Basic128Rsa15.
	SecurityPolicy string
	SecurityMode   string // None (default), Sign, SignAndEncrypt (default with a policy)
	Username       string
	Password       string
	Certificate    string // the mapper's own, in PEM; with a security policy
	PrivateKey     string // of it, in PEM
	// ServerCertificate, in PEM, is the only one that the server may have. Empty trusts any.
	ServerCertificate string
	// AuthCertificate logs in with Certificate in place of a user name.
	AuthCertificate bool
	PublishInterval int // between two notifications of changes, in milliseconds; 0 means 500
	Timeout         int // of a request, in milliseconds; 0 means 5000
}

// point is visitors.configData of a property.
type point struct {
	NodeID string // for example ns=2;s=Boiler.Temperature

	id  *ua.NodeID
	typ schema.Type
}

// newPoint reads the visitor of a property.
func newPoint(dev *device.Instance, p schema.Property) (*point, error) {
	if p.Visitors == nil {
		return nil, fmt.Errorf("property %s: visitors.configData is missing: set nodeID", p.Name)
	}
	pt := &point{typ: schema.TypeString}
	if err := p.Visitors.Config.Decode(pt); err != nil {
		return nil, fmt.Errorf("property %s: visitors.configData: %w", p.Name, err)
	}
	id, err := ua.ParseNodeID(pt.NodeID)
	if err != nil || pt.NodeID == "" {
		return nil, fmt.Errorf("property %s: nodeID is %.80q: set one such as ns=2;s=Name, ns=2;i=1001, ns=2;g=GUID or ns=2;b=BASE64", p.Name, pt.NodeID)
	}
	if m := dev.Model.Property(p.Name); m != nil {
		pt.typ = m.Type
	}
	pt.id = id
	return pt, nil
}

// security reads policy and mode.
func (c connection) security() (policy string, mode ua.MessageSecurityMode, err error) {
	policy = c.SecurityPolicy
	if policy == "" {
		policy = "None"
	}
	switch policy {
	case "None", "Basic128Rsa15", "Basic256", "Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss":
	default:
		return "", 0, fmt.Errorf("securityPolicy is %q: set None, Basic256Sha256, Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss", policy)
	}
	switch c.SecurityMode {
	case "":
		mode = ua.MessageSecurityModeSignAndEncrypt
		if policy == "None" {
			mode = ua.MessageSecurityModeNone
		}
	case "None":
		mode = ua.MessageSecurityModeNone
	case "Sign":
		mode = ua.MessageSecurityModeSign
	case "SignAndEncrypt":
		mode = ua.MessageSecurityModeSignAndEncrypt
	default:
		return "", 0, fmt.Errorf("securityMode is %q: set None, Sign or SignAndEncrypt", c.SecurityMode)
	}
	if (policy == "None") != (mode == ua.MessageSecurityModeNone) {
		return "", 0, fmt.Errorf("securityMode %s does not go with securityPolicy %s: set both or none", c.SecurityMode, policy)
	}
	return policy, mode, nil
}

// check checks what can be checked without the server.
func (c connection) check() error {
	_, mode, err := c.security()
	switch {
	case err != nil:
		return err
	case !strings.HasPrefix(c.URL, "opc.tcp://"):
		return fmt.Errorf("url is %q: set the server's, for example opc.tcp://10.0.0.7:4840", c.URL)
	case c.Timeout < 0 || c.PublishInterval < 0:
		return errors.New("timeout or publishInterval is negative: set milliseconds, or 0")
	case c.AuthCertificate && c.Username != "":
		return errors.New("authCertificate and username: set one")
	case (mode != ua.MessageSecurityModeNone || c.AuthCertificate) && (c.Certificate == "" || c.PrivateKey == ""):
		return errors.New("certificate or privateKey is missing: set the mapper's own, in PEM")
	}
	return nil
}

// options asks the server for its endpoints and chooses one.
func (c connection) options(ctx context.Context) ([]opcua.Option, error) {
	timeout := time.Duration(c.Timeout) * time.Millisecond
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, max(time.Until(deadline), time.Millisecond))
	}
	base := []opcua.Option{
		opcua.ApplicationName("edgekit mapper"), opcua.AutoReconnect(false), // the SDK opens the driver again
		opcua.DialTimeout(timeout), opcua.RequestTimeout(timeout),
	}
	policy, mode, err := c.security()
	if err != nil {
		return nil, err
	}
	endpoints, err := opcua.GetEndpoints(ctx, c.URL, base...)
	if err != nil {
		return nil, fmt.Errorf("get endpoints: %w", err)
	}
	endpoint, err := opcua.SelectEndpoint(endpoints, policy, mode)
	if err != nil {
		return nil, fmt.Errorf("the server has no endpoint with securityPolicy %s and securityMode %s: %w", policy, mode, err)
	}
	if c.ServerCertificate != "" {
		block, _ := pem.Decode([]byte(c.ServerCertificate))
		if block == nil || !bytes.Equal(block.Bytes, endpoint.ServerCertificate) {
			return nil, errors.New("the server's certificate is not serverCertificate")
		}
	}
	var key *rsa.PrivateKey
	var certificate []byte
	if c.Certificate != "" {
		pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.PrivateKey))
		if err != nil {
			return nil, fmt.Errorf("certificate and privateKey: %w", err)
		}
		ok := false
		if key, ok = pair.PrivateKey.(*rsa.PrivateKey); !ok {
			return nil, errors.New("privateKey is no RSA key, which OPC UA needs")
		}
		certificate = pair.Certificate[0]
	}
	if mode != ua.MessageSecurityModeNone {
		base = append(base, opcua.Certificate(certificate), opcua.PrivateKey(key))
	}
	auth := ua.UserTokenTypeAnonymous
	switch {
	case c.AuthCertificate:
		auth = ua.UserTokenTypeCertificate
		base = append(base, opcua.AuthCertificate(certificate), opcua.AuthPrivateKey(key))
	case c.Username != "":
		auth = ua.UserTokenTypeUserName
		base = append(base, opcua.AuthUsername(c.Username, c.Password))
	default:
		base = append(base, opcua.AuthAnonymous())
	}
	return append(base, opcua.SecurityFromEndpoint(endpoint, auth)), nil
}
