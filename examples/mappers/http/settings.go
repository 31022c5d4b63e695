package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/internal/jsonpath"
)

// maxBody bounds an answer, in bytes.
const maxBody = 1 << 20

// connection is spec.protocol.configData of a Device. A secret in it is a secretRef in the
// Device; the SDK puts the secret's text in its place.
type connection struct {
	URL      string            // of the device, for example https://10.0.0.5/api
	Headers  map[string]string // of each request
	Username string            // with Password: HTTP basic authentication
	Password string
	Token    string // a bearer token
	Timeout  int    // of a request, in milliseconds; 0 leaves it to the mapper's --timeout
	// The rest is for https. CA are the certificates to trust, in PEM; empty means the
	// system's. Certificate and Key, in PEM, are the mapper's own.
	CA          string
	Certificate string
	Key         string
	ServerName  string // in the device's certificate; empty means the URL's host
}

// point is visitors.configData of a property.
type point struct {
	Path        string // below the device's URL
	JSONPath    string // of the value in the answer; empty means that the answer is the value
	WritePath   string // empty means Path
	WriteMethod string // empty means PUT
	WriteBody   string // a template with ${value}; empty means the value at JSONPath

	typ    schema.Type
	path   jsonpath.Path
	whole  bool // the answer need not be JSON
	target string
}

// newPoint reads the visitor of a property.
func newPoint(dev *device.Instance, p schema.Property) (*point, error) {
	if p.Visitors == nil {
		return nil, fmt.Errorf("property %s: visitors.configData is missing: set path", p.Name)
	}
	pt := &point{typ: schema.TypeString}
	if err := p.Visitors.Config.Decode(pt); err != nil {
		return nil, fmt.Errorf("property %s: visitors.configData: %w", p.Name, err)
	}
	if m := dev.Model.Property(p.Name); m != nil {
		pt.typ = m.Type
	}
	var err error
	if pt.path, err = jsonpath.Parse(pt.JSONPath); err != nil {
		return nil, fmt.Errorf("property %s: jsonPath: %w", p.Name, err)
	}
	pt.whole = pt.JSONPath == ""
	switch pt.WriteMethod {
	case "":
		pt.WriteMethod = http.MethodPut
	case http.MethodPut, http.MethodPost, http.MethodPatch:
	default:
		return nil, fmt.Errorf("property %s: writeMethod is %q: set PUT, POST or PATCH", p.Name, pt.WriteMethod)
	}
	pt.target = pt.WritePath
	if pt.target == "" {
		pt.target = pt.Path
	}
	return pt, nil
}

// body is what a write sends.
func (p *point) body(value string) ([]byte, error) {
	if p.WriteBody == "" && !p.whole {
		return p.path.Make(value, p.typ)
	}
	literal, err := jsonpath.Path{}.Make(value, p.typ)
	if err != nil || p.WriteBody == "" {
		return literal, err
	}
	return []byte(strings.ReplaceAll(p.WriteBody, "${value}", string(literal))), nil
}

// client makes the HTTP client of one device.
func (c connection) client() (*http.Client, error) {
	base, err := url.Parse(c.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("url: %w", err)
	case base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		return nil, fmt.Errorf("url is %q: set the address of the device, for example https://10.0.0.5/api", c.URL)
	case c.Timeout < 0:
		return nil, fmt.Errorf("timeout is %d: set milliseconds, or 0", c.Timeout)
	case base.User != nil:
		return nil, errors.New("url has a password: use username and password, which may be a secretRef")
	}
	tlsConfig := &tls.Config{ServerName: c.ServerName, MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM([]byte(c.CA)) {
			return nil, errors.New("ca has no certificate: set certificates in PEM")
		}
	}
	if c.Certificate != "" || c.Key != "" {
		pair, err := tls.X509KeyPair([]byte(c.Certificate), []byte(c.Key))
		if err != nil {
			return nil, fmt.Errorf("certificate and key: %w", err)
		}
		tlsConfig.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{
		Transport: &http.Transport{TLSClientConfig: tlsConfig, MaxConnsPerHost: 2, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true},
		Timeout:   time.Duration(c.Timeout) * time.Millisecond,
		// Credentials are for this device only.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// request makes one request and returns the body of a good answer.
func (c connection) request(ctx context.Context, client *http.Client, method, path string, body []byte) ([]byte, error) {
	target, err := url.JoinPath(c.URL)
	if err == nil && path != "" {
		target = strings.TrimSuffix(target, "/") + "/" + strings.TrimPrefix(path, "/")
	}
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range c.Headers {
		r.Header.Set(name, value)
	}
	switch {
	case c.Token != "":
		r.Header.Set("Authorization", "Bearer "+c.Token)
	case c.Username != "":
		r.SetBasicAuth(c.Username, c.Password)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, err
	case answer.StatusCode < 200 || answer.StatusCode > 299:
		return nil, fmt.Errorf("%s %s: the device answered %s: %.200s", method, path, answer.Status, bytes.TrimSpace(text))
	case len(text) > maxBody:
		return nil, fmt.Errorf("%s %s: the answer is larger than %d bytes", method, path, maxBody)
	}
	return text, nil
}
