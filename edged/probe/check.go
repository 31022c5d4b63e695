package probe

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxBody bounds what is read of an answer, and maxRedirects how often one is followed.
const (
	maxBody      = 10 << 10
	maxRedirects = 10
)

// Target is the container that is asked.
type Target struct {
	IP    string                 // of its pod
	Ports []corev1.ContainerPort // by which named ports are found
	// Exec runs a command in the container and returns its output and exit
	// code. An error that matches context.DeadlineExceeded means that the
	// command did not end in time, which is a failing answer. Any other error
	// means that the command could not be run: it says nothing of the container.
	Exec func(ctx context.Context, cmd []string, timeout time.Duration) (output string, code int, err error)
}

// Answer is what a container said.
type Answer struct {
	OK bool
	// Warning is set for a good answer that people should look at: a redirect
	// to another host, which is not followed.
	Warning bool
	Detail  string // for people
}

// Check asks once. An error means that the question could not be put at all,
// so that the container cannot be judged by it.
func Check(ctx context.Context, h corev1.ProbeHandler, timeout time.Duration, t Target) (Answer, error) {
	if h.HTTPGet != nil {
		return httpGet(ctx, h.HTTPGet, timeout, t)
	}
	ok, detail, err := check(ctx, h, timeout, t)
	return Answer{OK: ok, Detail: detail}, err
}

func check(ctx context.Context, h corev1.ProbeHandler, timeout time.Duration, t Target) (ok bool, detail string, err error) {
	switch {
	case h.Exec != nil:
		if t.Exec == nil {
			return false, "", errors.New("probe: Target.Exec is required for exec probes")
		}
		out, code, err := t.Exec(ctx, h.Exec.Command, timeout)
		switch {
		case ctx.Err() != nil:
			return false, "", ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			return false, err.Error(), nil
		case err != nil:
			return false, "", fmt.Errorf("probe: exec: %w", err)
		}
		return code == 0, out, nil
	case h.TCPSocket != nil:
		host := h.TCPSocket.Host
		if host == "" {
			host = t.IP
		}
		port, err := t.port(h.TCPSocket.Port)
		if err != nil {
			return false, "", err
		}
		conn, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		if err != nil {
			return false, err.Error(), ctx.Err()
		}
		conn.Close()
		return true, "", nil
	case h.GRPC != nil:
		return grpcHealth(ctx, h.GRPC, timeout, t)
	}
	return false, "", errors.New("probe: the probe names no way to ask")
}

func (t Target) port(p intstr.IntOrString) (string, error) {
	if p.Type == intstr.Int {
		return strconv.Itoa(int(p.IntVal)), nil
	}
	for _, c := range t.Ports {
		if c.Name == p.StrVal {
			return strconv.Itoa(int(c.ContainerPort)), nil
		}
	}
	if n, err := strconv.ParseUint(p.StrVal, 10, 16); err == nil {
		return strconv.FormatUint(n, 10), nil
	}
	return "", fmt.Errorf("probe: the container has no port named %q", p.StrVal)
}

// Request builds the HTTP request of an HTTPGet action, for probes and hooks.
func (t Target) Request(ctx context.Context, g *corev1.HTTPGetAction) (*http.Request, error) {
	host := g.Host
	if host == "" {
		host = t.IP
	}
	port, err := t.port(g.Port)
	if err != nil {
		return nil, err
	}
	scheme := strings.ToLower(string(g.Scheme))
	if scheme == "" {
		scheme = "http"
	}
	u, err := url.Parse(g.Path)
	if err != nil { // a path that is no URL is sent as it is
		u = &url.URL{Path: g.Path}
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(host, port)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	for _, h := range g.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			req.Host = h.Value
			continue
		}
		req.Header.Add(h.Name, h.Value)
	}
	if _, set := req.Header["User-Agent"]; !set {
		req.Header.Set("User-Agent", "kube-probe/1.37")
	}
	if _, set := req.Header["Accept"]; !set {
		req.Header.Set("Accept", "*/*")
	}
	return req, nil
}

// Client makes an HTTP client for one request to a container. Certificates
// are not checked, as Kubernetes has it: the container is asked whether it
// works, not who it is.
func Client(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DisableKeepAlives: true, DisableCompression: true, Proxy: nil,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // see above
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			// To another host it is not the container that answers: what it said counts.
			if req.URL.Hostname() != via[0].URL.Hostname() {
				return http.ErrUseLastResponse
			}
			if len(via) >= maxRedirects {
				return fmt.Errorf("stopped after %d redirects", maxRedirects)
			}
			return nil
		},
	}
}

func httpGet(ctx context.Context, g *corev1.HTTPGetAction, timeout time.Duration, t Target) (Answer, error) {
	req, err := t.Request(ctx, g)
	if err != nil {
		return Answer{}, err
	}
	resp, err := Client(timeout).Do(req)
	if err != nil {
		return Answer{Detail: err.Error()}, ctx.Err()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	switch code := resp.StatusCode; {
	case err != nil:
		return Answer{Detail: err.Error()}, ctx.Err()
	case code >= http.StatusBadRequest || code < http.StatusOK:
		return Answer{Detail: fmt.Sprintf("HTTP probe failed with statuscode: %d", code)}, nil
	case code >= http.StatusMultipleChoices:
		return Answer{OK: true, Warning: true, Detail: fmt.Sprintf("Probe terminated redirects, Response body: %s", body)}, nil
	}
	return Answer{OK: true, Detail: string(body)}, nil
}

// grpcHealth puts the question of the gRPC health checking protocol: one unary
// call of grpc.health.v1.Health/Check, whose message is a service name.
func grpcHealth(ctx context.Context, g *corev1.GRPCAction, timeout time.Duration, t Target) (bool, string, error) {
	service := ""
	if g.Service != nil {
		service = *g.Service
	}
	message := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), service)
	if service == "" {
		message = nil
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	frame = append(frame, message...)
	target := "http://" + net.JoinHostPort(t.IP, strconv.Itoa(int(g.Port))) + "/grpc.health.v1.Health/Check"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(string(frame)))
	if err != nil {
		return false, "", fmt.Errorf("probe: %w", err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	req.Header.Set("User-Agent", "kube-probe/1.37")
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, DisableCompression: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Timeout: timeout, Transport: transport}).Do(req)
	if err != nil {
		return false, err.Error(), ctx.Err()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return false, err.Error(), ctx.Err()
	}
	code := resp.Trailer.Get("Grpc-Status")
	if code == "" {
		code = resp.Header.Get("Grpc-Status")
	}
	if resp.StatusCode != http.StatusOK || code != "0" {
		return false, fmt.Sprintf("gRPC health check failed: HTTP status %d, grpc-status %q", resp.StatusCode, code), nil
	}
	serving, err := healthStatus(body)
	if err != nil {
		return false, err.Error(), nil
	}
	if serving != 1 {
		return false, fmt.Sprintf("service unhealthy (responded with status %d)", serving), nil
	}
	return true, "service healthy", nil
}

// healthStatus reads the status, field 1, of the one message in a gRPC body.
func healthStatus(body []byte) (uint64, error) {
	if len(body) < 5 || body[0] != 0 {
		return 0, errors.New("gRPC health check failed: the answer is no plain gRPC message")
	}
	size := binary.BigEndian.Uint32(body[1:5])
	if uint64(size) > uint64(len(body)-5) {
		return 0, errors.New("gRPC health check failed: the answer is cut short")
	}
	msg := body[5 : 5+size]
	status := uint64(0)
	for len(msg) > 0 {
		num, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return 0, fmt.Errorf("gRPC health check failed: %w", protowire.ParseError(n))
		}
		msg = msg[n:]
		if num == 1 && typ == protowire.VarintType {
			v, n := protowire.ConsumeVarint(msg)
			if n < 0 {
				return 0, fmt.Errorf("gRPC health check failed: %w", protowire.ParseError(n))
			}
			status, msg = v, msg[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(num, typ, msg); n < 0 {
			return 0, fmt.Errorf("gRPC health check failed: %w", protowire.ParseError(n))
		}
		msg = msg[n:]
	}
	return status, nil
}
