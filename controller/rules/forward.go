package rules

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/kubeletproxy"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// forwardedHeader marks a request that another cloudcore has passed on: it is not passed on
// again.
const forwardedHeader = "Edgekit-Forwarded"

// PeerConfig says how other cloudcores are reached. Transport is required.
type PeerConfig struct {
	// Address is this cloudcore's address, as its nodes' Nodes have it for kubelet
	// endpoints: a Node with another one is at another cloudcore.
	Address string
	// Port of the other cloudcores' entries: all have the same.
	Port int
	// Transport sends a request in this cloudcore's own name, which needs the right to
	// create rules/proxy. It checks that the other end is a cloudcore. With
	// EntryConfig.Plain it is not used: the request keeps its caller's name.
	Transport http.RoundTripper
	// Find returns the host and port of the entry of the cloudcore that has a node; "" if
	// none has, or this one. nil reads the Node.
	Find func(node *corev1.Node) string
}

// peerOf returns the entry of another cloudcore that has the node, "" if there is none.
func (e *entry) peerOf(name string) string {
	p := e.cfg.Peer
	if p == nil || e.c.cfg.Nodes == nil {
		return ""
	}
	item, ok := e.c.cfg.Nodes.Load(cache.Name{Name: name})
	if !ok {
		return ""
	}
	if p.Find != nil {
		return p.Find(item.Object)
	}
	return p.find(item.Object)
}

// find reads from a Node the entry of the cloudcore that has it; "" if it is this one, or none.
func (p *PeerConfig) find(node *corev1.Node) string {
	connected := false
	for _, c := range node.Status.Conditions {
		connected = connected || (c.Type == nodelifecycle.ConditionConnected && c.Status == corev1.ConditionTrue)
	}
	// A cloudcore records itself on the Node; a node cannot.
	holder, ok := kubeletproxy.Holder(node)
	if !connected || !ok || holder.String() == p.Address {
		return ""
	}
	return net.JoinHostPort(holder.String(), strconv.Itoa(p.Port))
}

// passOn passes a request on to the cloudcore that has the node. It reports false if no
// other cloudcore has it.
func (e *entry) passOn(w http.ResponseWriter, req *http.Request, node string) bool {
	if req.Header.Get(forwardedHeader) != "" {
		return false
	}
	peer := e.peerOf(node)
	if peer == "" {
		return false
	}
	scheme, transport := "https", e.cfg.Peer.Transport
	if e.cfg.Plain {
		// Without TLS the other end may be anybody: it gets the caller's credentials, which
		// travel unencrypted anyway, and not this cloudcore's.
		scheme, transport = "http", e.plain
	}
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = scheme, peer, peer
			p.Out.URL.RawQuery = p.In.URL.RawQuery
			if !e.cfg.Plain {
				p.Out.Header.Del("Authorization") // the transport's own goes instead
			}
			p.Out.Header.Set(forwardedHeader, "1")
		},
		ErrorHandler: func(w http.ResponseWriter, req *http.Request, err error) {
			problem := callProblem(req, "the cloudcore that has node "+node, err)
			if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
				problem = wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonNodeAway, fmt.Sprintf("node %s is at the cloudcore %s, which cannot be reached", node, peer))
			}
			problem.Write(w)
		},
		ErrorLog: slog.NewLogLogger(e.c.log.Handler(), slog.LevelDebug),
	}
	req.Body = http.MaxBytesReader(w, req.Body, wire.MaxRequest)
	proxy.ServeHTTP(w, req)
	return true
}
